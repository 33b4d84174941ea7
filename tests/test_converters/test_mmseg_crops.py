"""Our tile names are those of mmsegmentation's converters, run on empty rasters of the true sizes."""
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import mmseg
import numpy as np
import pytest
from fake_downloads import image_bytes

from egmim_mm.converters.isaid import CROP, STRIDE
from egmim_mm.converters.tiling import tile_name, tile_windows
from egmim_mm.converters.vaihingen import PUBLISHED_TILES, SPLITS

# Width and height of the 33 areas, px.
VAIHINGEN_SIZES = {
    1: (1919, 2569), 2: (2428, 2767), 3: (2006, 3007), 4: (1887, 2557), 5: (1887, 2557), 6: (1887, 2557),
    7: (1887, 2557), 8: (1887, 2557), 10: (1887, 2557), 11: (1893, 2566), 12: (1922, 2575), 13: (2818, 2558),
    14: (1919, 2565), 15: (1919, 2565), 16: (1919, 2565), 17: (2336, 1281), 20: (1866, 2315), 21: (1903, 2546),
    22: (1903, 2546), 23: (1903, 2546), 24: (1903, 2546), 26: (2995, 1783), 27: (1917, 3313), 28: (1917, 2567),
    29: (1917, 2563), 30: (1934, 2563), 31: (1980, 2555), 32: (1980, 2555), 33: (1581, 2555), 34: (1388, 2555),
    35: (2805, 1884), 37: (1996, 1995), 38: (3816, 2550)
}
SCRIPTS = Path(mmseg.__file__).parent / '.mim/tools/dataset_converters'


def script(name):
    """One of mmsegmentation's converters, with a writer that only notes the name and shape of a tile."""
    spec = importlib.util.spec_from_file_location(f'mmseg_{name}', SCRIPTS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tiles = {}

    def imwrite(tile, path):
        tiles[Path(path).name] = tile.shape[:2]

    # one zero for all pixels: no memory
    module.mmcv = SimpleNamespace(imwrite=imwrite, impad=module.mmcv.impad, imread=lambda path: module.raster)
    module.raster = None
    return module, tiles


def empty(width, height):
    return np.broadcast_to(np.uint8(0), (height, width, 3))


def ours(source, width, height, crop, stride, naming='xyxy'):
    return {tile_name(source, window, naming) + '.png': (window.height, window.width)
            for window in tile_windows(height, width, crop, stride)}


def test_vaihingen():
    module, theirs = script('vaihingen')
    module.args = SimpleNamespace(clip_size=512, stride_size=256)
    counts = {}
    for split, areas in SPLITS.items():
        found = {}
        for area in areas:
            theirs.clear()
            width, height = VAIHINGEN_SIZES[int(area[4:])]
            module.raster = empty(width, height)
            module.clip_big_image(f'top/top_mosaic_09cm_{area}.tif', 'out')
            assert ours(area, width, height, 512, 512) == theirs
            found |= theirs
        counts[split] = len(found)
    assert counts == PUBLISHED_TILES == dict(train=344, val=398)


def test_potsdam():
    module, theirs = script('potsdam')
    module.raster = empty(6000, 6000)
    args = SimpleNamespace(clip_size=512, stride_size=256)
    module.clip_big_image('2_Ortho_RGB/top_potsdam_2_10_RGB.tif', 'out', args)
    assert ours('2_10', 6000, 6000, 512, 512) == theirs
    assert (24 * len(theirs), 14 * len(theirs)) == (3456, 2016)


@pytest.mark.parametrize('width, height', [(3000, 2100), (896, 1500), (1409, 4000), (500, 1800), (700, 600)])
def test_isaid(width, height, tmp_path):
    module, _ = script('isaid')
    path = tmp_path / 'P0007.png'
    path.write_bytes(image_bytes(np.zeros((height, width, 3), np.uint8), '.png'))
    (tmp_path / 'img_dir/train').mkdir(parents=True)
    module.slide_crop_image(str(path), str(tmp_path), 'train', CROP, CROP, CROP - STRIDE)
    theirs = {tile.name for tile in (tmp_path / 'img_dir/train').iterdir()}
    # a side below the patch is padded to it first
    assert theirs == set(ours('P0007', max(width, CROP), max(height, CROP), CROP, STRIDE, 'yyxx'))
