"""The tables give the pixels of MMSegmentation's arithmetic."""
import numpy as np
from mmseg.datasets.transforms import PhotoMetricDistortion as StockDistortion

from egmim_mm.datasets import PhotoMetricDistortion


def test_pixels_and_random_numbers_are_those_of_mmsegmentation():
    image = np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
    changed = 0
    for seed in range(60):  # all 32 combinations of what is done and when occur
        drawn = []
        for kind in (StockDistortion, PhotoMetricDistortion):
            np.random.seed(seed)
            drawn.append((kind().transform(dict(img=image))['img'], np.random.randint(2**31)))
        (stock, after_stock), (ours, after_ours) = drawn
        assert np.array_equal(stock, ours) and after_stock == after_ours
        changed += not np.array_equal(ours, image)
    assert changed > 40
