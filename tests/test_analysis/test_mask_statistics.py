"""Mask statistics: hand-made masks, and the order of the policies on real imagery."""
import numpy as np
import pytest
import torch

from egmim_mm.analysis.mask_statistics import POLICIES, compare_policies, mask_statistics, random_crops


def test_statistics_of_a_hand_made_mask():
    mask = np.zeros((10, 10), bool)
    mask[2:5, 2:5] = True  # eight pixels at distance 1, the centre at 2
    mask[8, 8] = True
    edge = np.zeros((10, 10), np.float32)
    edge[:2] = 1.0  # the strongest 20 %, all visible
    edge[3, 3] = 0.5
    values = mask_statistics(mask, edge)
    assert values == pytest.approx(dict(distance=(9 * 1 + 2) / 10, edge_hidden=0.5 / 20.5, strong_visible=1.0,
                                        largest=0.09))
    edge[:2] = 0
    edge[2:5, 2:5], edge[9], edge[0, 0] = 1.0, 1.0, 1.0  # twenty again: nine hidden
    assert mask_statistics(mask, edge)['strong_visible'] == pytest.approx(11 / 20)


def test_crops_are_windows_of_the_images_and_repeat(tmp_path, write_image):
    image = np.random.default_rng(0).integers(0, 256, (60, 70, 3)).astype(np.uint8)
    write_image(tmp_path / 'a.png', image)
    crops = random_crops(str(tmp_path), 5, 32, seed=3)
    assert torch.equal(crops, random_crops(str(tmp_path), 5, 32, seed=3))
    windows = np.lib.stride_tricks.sliding_window_view(image, (32, 32, 3)).reshape(-1, 32, 32, 3)
    for crop in (crops * 255).round().byte().permute(0, 2, 3, 1).numpy():
        assert (windows == crop).all((1, 2, 3)).sum() == 1


def test_policies_differ_as_they_should(shared_data):
    rows = compare_policies(random_crops(str(shared_data / 'dubai'), 24, 192, include='*/images/*'))
    assert list(rows) == list(POLICIES)
    distance = {name.split(',')[0] + name.split(',')[1].removesuffix(' px'): r['distance'] for name, r in rows.items()}
    assert distance['random 16'] < distance['edge_adaptive 32/16'] < distance['random 32']
    assert distance['edge_adaptive 32/16'] == pytest.approx(distance['random_adaptive 32/16'], rel=0.25)
    strong = {name.split(',')[0]: r['strong_visible'] for name, r in rows.items()}
    assert strong['edge_topk'] < 0.2 < strong['edge_adaptive'] < strong['random'] < strong['edge_inverse']
    hidden = {name.split(',')[0]: r['edge_hidden'] for name, r in rows.items()}
    assert hidden['edge_inverse'] < 0.45 < hidden['random'] < hidden['edge_adaptive'] < hidden['edge_topk']
