import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from egmim_mm.analysis.crops import crop_batches, cut
from egmim_mm.readout.cells import majority_labels, window_starts


def test_last_window_is_shifted_to_the_border():
    assert window_starts(300, 128) == [0, 128, 172]
    assert window_starts(256, 128) == [0, 128]
    assert window_starts(100, 128) == [0]


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_every_labelled_pixel_comes_exactly_once(height, width):
    # Each pixel holds its own position; 60 positions per side fit into uint8 pairs.
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    image = torch.stack([rows, columns]).float()
    label = torch.ones(height, width, dtype=torch.uint8)
    label[0, 0] = 255
    images, labels = cut(image, label, 32)
    assert images.shape[1:] == (2, 32, 32)
    seen = images.permute(0, 2, 3, 1)[labels != 255]
    assert len(seen) == height * width - 1
    assert len({tuple(position) for position in seen.tolist()}) == len(seen)


def test_small_tile_is_padded_with_the_mean_colour_and_ignored():
    images, labels = cut(torch.ones(3, 20, 40), torch.zeros(20, 40, dtype=torch.uint8), 32)
    assert images.shape == (2, 3, 32, 32)
    assert (images[:, :, 20:] == 0).all() and (labels[:, 20:] == 255).all()


def test_batches_cross_tiles_and_skip_unlabelled_windows():
    tiles = [(np.full((64, 64, 3), index, np.uint8), np.full((64, 64), index, np.uint8))
             for index in range(3)]
    tiles[1] = (tiles[1][0], np.full((64, 64), 255, np.uint8))
    batches = list(crop_batches(tiles, lambda image: torch.from_numpy(image).permute(2, 0, 1).float(), 32, 3))
    assert [len(images) for images, _ in batches] == [3, 3, 2]
    assert torch.cat([labels[:, 0, 0] for _, labels in batches]).tolist() == [0] * 4 + [2] * 4
    assert torch.equal(batches[-1][0], torch.full((2, 3, 32, 32), 2.0))


def test_majority_of_a_cell():
    labels = torch.full((1, 4, 16), 255, dtype=torch.uint8)
    labels[0, :, :4] = torch.tensor([[1] * 4, [1] * 4, [1, 2, 2, 2], [2] * 4])  # 9 of class 1
    labels[0, :2, 4:8] = 0  # half is ignored: the class wins the tie
    labels[0, 0, 8:12] = 2  # mostly ignored
    assert majority_labels(labels, 3).tolist() == [[[1, 0, 255, 255]]]


@pytest.mark.parametrize('seed', range(3))
def test_majority_equals_a_loop(seed):
    labels = torch.randint(0, 4, (2, 8, 12), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    labels[labels == 3] = 255
    found = majority_labels(labels, 3)
    for batch in range(2):
        for y in range(2):
            for x in range(3):
                cell = labels[batch, 4 * y:4 * y + 4, 4 * x:4 * x + 4].numpy()
                votes = [(cell == value).sum() for value in (0, 1, 2, 255)]
                assert found[batch, y, x] == (0, 1, 2, 255)[int(np.argmax(votes))]
