"""The way of the README from orthophotos to a map, its own commands and configs, at toy size."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from egmim_mm.engine.launch import load_config
from egmim_mm.registry import DATASETS

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.search(r'^## A map of your own area\n(.*?)^## ', (ROOT / 'README.md').read_text(encoding='utf-8'),
                    re.DOTALL | re.MULTILINE)[1]
COMMANDS = '\n'.join(re.findall(r'```bash\n(.*?)```', SECTION, re.DOTALL))
CONFIGS = dict(re.findall(r'`(configs/[\w/]+\.py)`[^`]*```python\n(.*?)```', SECTION, re.DOTALL))
# What makes the commands small: a shim in the place of python adds it to each training.
TOY = {
    'egmim': 'train_cfg.max_iters=2 train_cfg.global_batch=2',
    'upernet': 'train_cfg.cells=2000',  # one labelled tile: a read-out
}
SHIM = """#!/usr/bin/env bash
case "$1 $2" in
  tools/train.py*egmim*) set -- "$@" --cfg-options {egmim} train_dataloader.num_workers=0 \\
    train_dataloader.persistent_workers=False ;;
  tools/train.py*upernet*) set -- "$@" --cfg-options {upernet} train_dataloader.num_workers=0 \\
    train_dataloader.persistent_workers=False ;;
esac
exec {python} "$@"
"""


def write_survey(folder: Path) -> None:
    """Two labelled orthophotos and one without labels, 512 px at 0.2 m; half of each mask is not labelled."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(('north', 'south', 'west')):
        classes = rng.integers(1, 5, (16, 16)).repeat(32, 0).repeat(32, 1).astype(np.uint8)
        image = (classes * 50 + rng.normal(0, 10, (3, 512, 512))).clip(0, 255).astype(np.uint8)
        profile = dict(driver='GTiff', width=512, height=512, dtype='uint8', crs='EPSG:25832',
                       transform=from_origin(500000 + 200 * number, 5500000, 0.2, 0.2))
        classes[256:] = 0
        for part, pixels in (('images', image), ('masks', classes[None])):
            if (name, part) != ('west', 'masks'):
                (folder / part).mkdir(parents=True, exist_ok=True)
                with rasterio.open(folder / part / f'{name}.tif', 'w', count=len(pixels), **profile) as raster:
                    raster.write(pixels)


@pytest.fixture(scope='module')
def followed(tmp_path_factory):
    """Folder of a person who did what the section says."""
    folder = tmp_path_factory.mktemp('agency')
    for name in ('configs', 'tools'):
        shutil.copytree(ROOT / name, folder / name)
    for name, text in CONFIGS.items():
        (folder / name).write_text(text)
    write_survey(folder / 'survey')
    shim = folder / 'bin/python'
    shim.parent.mkdir()
    shim.write_text(SHIM.format(python=sys.executable, **{key: f"'{value}'".replace(' ', "' '")
                                                          for key, value in TOY.items()}))
    shim.chmod(0o755)
    environment = dict(os.environ, PATH=f'{shim.parent}:{os.environ["PATH"]}', PYTHONPATH=str(ROOT),
                       OMP_NUM_THREADS='1')
    run = subprocess.run(['bash', '-euo', 'pipefail', '-c', COMMANDS], cwd=folder, env=environment,
                         capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return folder


def test_the_section_has_its_configs_and_commands():
    assert set(CONFIGS) == {'configs/egmim_dapt_area.py', 'configs/upernet_area.py'}
    tools = re.findall(r'^python tools/([\w/]+)\.py', COMMANDS, re.MULTILINE)
    assert tools == ['dataset_converters/folder', 'visualize', 'train', 'train', 'test', 'predict']


def test_pretraining_saw_no_test_image_and_fine_tuning_started_from_it(followed, monkeypatch):
    monkeypatch.chdir(followed)
    seen = DATASETS.build(dict(load_config('configs/egmim_dapt_area.py').train_dataloader.dataset, pipeline=[]))
    assert sorted(Path(seen.get_data_info(i)['img_path']).parent.name for i in range(len(seen))) == ['train',
                                                                                                    'unlabeled']
    assert len(list(Path('data/area/img_dir/val').glob('*.tif'))) == 1
    results = json.loads((followed / 'work_dirs/upernet_area/results.json').read_text())
    assert results['phase'] == 'test' and results['protocol']['classes'] == ['building', 'road', 'vegetation', 'other']
    assert results['backbone_source']['lineage'][0]['config'] == 'egmim_dapt_area.py'
    assert results['protocol']['evaluation']['num_tiles'] == 1
    # the labelled half of the test tile
    assert sum(map(sum, results['confusion']['counts'])) == 256 * 512


def test_maps_lie_where_the_images_lie(followed):
    assert sorted(p.name for p in (followed / 'maps').iterdir()) == [
        f'{name}.{end}' for name in ('north', 'south', 'west') for end in ('gpkg', 'tif')]
    with rasterio.open(followed / 'maps/west.tif') as made, rasterio.open(followed / 'survey/images/west.tif') as image:
        assert (made.crs, made.transform, made.shape) == (image.crs, image.transform, image.shape)
        classes = made.read(1)
    assert set(np.unique(classes)) <= {0, 1, 2, 3}
    polygons = shapely.from_wkb(pyogrio.raw.read(followed / 'maps/west.gpkg')[2])
    assert shapely.area(polygons).sum() == pytest.approx((512 * 0.2)**2)  # m2
    assert (followed / 'work_dirs/area_data.png').is_file() and list((followed / 'work_dirs/area_errors').iterdir())
