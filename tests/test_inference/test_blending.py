"""Blending against the plain sum over whole arrays, with a model whose windows disagree."""
import numpy as np
import pytest
import torch

from egmim_mm.inference.blending import Grid, blended_strips, in_background, most_probable
from egmim_mm.inference.windows import blend_weights


def scores_of_windows(images):
    """Probabilities that depend on where a pixel lies in its window, and on what else is in it."""
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    place = torch.linspace(0, 60, batch.shape[2] * batch.shape[3]).view(1, 1, *batch.shape[2:])
    return ((batch - batch.mean((2, 3), keepdim=True) + place * torch.tensor([1., -1, 0]).view(1, 3, 1, 1)) / 30
            ).softmax(1)


def plain_sum(image, grid):
    total, weights = np.zeros((3, *image.shape[:2])), np.zeros(image.shape[:2])
    weight = np.outer(blend_weights(grid.height, grid.overlap), blend_weights(grid.width, grid.overlap))
    for top in grid.tops:
        for left in grid.lefts:
            part = np.s_[top:top + grid.height, left:left + grid.width]
            total[(slice(None), *part)] += scores_of_windows([image[part]])[0].numpy() * weight
            weights[part] += weight
    return total / weights


@pytest.mark.parametrize('overlap', [0, 0.25, 0.5, 0.8])
@pytest.mark.parametrize('size', [(64, 96), (100, 130), (200, 70)])
def test_strips_are_the_weighted_mean_of_all_windows(noise, size, overlap):
    image = noise(*size)
    grid = Grid(*size, 64, overlap)
    expected = plain_sum(image, grid)
    strips = list(blended_strips(scores_of_windows, 3, lambda top, height: (
        image[top:top + height], np.ones((height, size[1]), bool)), grid, 3, True))
    assert [strip.top for strip in strips] == grid.tops
    blended = torch.cat([strip.probabilities for strip in strips], 1).numpy()
    np.testing.assert_allclose(blended, expected, atol=1e-5)
    classes = np.concatenate([strip.classes for strip in strips])
    best = np.sort(expected, axis=0)
    clear = best[-1] - best[-2] > 1e-4
    np.testing.assert_array_equal(classes[clear], expected.argmax(0)[clear])
    assert clear.mean() > 0.99


def test_windows_without_data_are_not_computed(noise):
    image, valid = noise(64, 192), np.zeros((64, 192), bool)
    valid[5, 100] = True
    asked = []
    strips = list(blended_strips(lambda images: asked.extend(images) or scores_of_windows(images), 3,
                                 lambda top, height: (image[top:top + height], valid[top:top + height]),
                                 Grid(64, 192, 64, 0), 8, True))
    assert len(asked) == 1
    np.testing.assert_array_equal(asked[0], image[:, 64:128])
    classes, probabilities = strips[0].classes, strips[0].probabilities
    assert (classes == 255).sum() == 64 * 192 - 1 and classes[5, 100] < 3
    assert probabilities[:, 5, 100].sum() == pytest.approx(1) and probabilities.sum() == pytest.approx(1)


def test_errors_of_the_other_thread_arrive():
    def items():
        yield 1
        raise OSError('broken')

    made = in_background(items(), 2)
    assert next(made) == 1
    with pytest.raises(OSError, match='broken'):
        next(made)


@pytest.mark.parametrize('number', [2, 7, 255])
def test_most_probable_is_the_first_of_the_highest(number):
    scores = torch.randint(0, 5, (number, 20, 30), generator=torch.Generator().manual_seed(0)).float()  # many are equal
    classes = most_probable(scores)
    assert classes.dtype == torch.uint8
    np.testing.assert_array_equal(classes.numpy(), scores.numpy().argmax(0))
