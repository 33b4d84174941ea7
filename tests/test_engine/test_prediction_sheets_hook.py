"""Which images the hook keeps, and what it writes, on tiles with a known number of wrong pixels."""
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from egmim_mm.datasets import SegmentationTiles
from egmim_mm.engine.hooks import PredictionSheetsHook

LOAD = [dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask')]
WRONG = {'a/1': 10, 'a/2': 40, 'a_1': 40, 'b': 0, 'c': None}  # of 100 pixels; None: all are ignored


@pytest.fixture
def runner(tmp_path, write_image):
    for name, wrong in WRONG.items():
        write_image(tmp_path / f'images/{name}.png', np.full((10, 10, 3), (200, 100, 50), np.uint8))
        write_image(tmp_path / f'masks/{name}.png', np.full((10, 10), 255 if wrong is None else 0, np.uint8))
    dataset = SegmentationTiles(str(tmp_path), img_suffix='.png', pipeline=LOAD, test_mode=True,
                                metainfo=dict(classes=('x', 'y')))
    return SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset), logger=logging.getLogger('test'),
                           cfg=ConfigDict(model=dict(data_preprocessor=dict(bgr_to_rgb=True))))


def outputs(runner):
    for index, (name, wrong) in enumerate(sorted(WRONG.items())):
        info = runner.test_dataloader.dataset[index]
        prediction = torch.zeros(1, 10, 10, dtype=torch.long)
        prediction.view(-1)[:wrong or 0] = 1
        sample = SegDataSample(metainfo=dict(img_path=info['img_path'], tile_name=info['tile_name']))
        sample.pred_sem_seg = PixelData(data=prediction)
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(info['gt_seg_map'].copy())[None])
        assert info['tile_name'] == name
        yield sample


def run(hook, runner, samples):
    hook.before_test(runner)
    hook.before_test_epoch(runner)
    for index, sample in enumerate(samples):
        hook.after_test_iter(runner, index, outputs=[sample])
    hook.after_test_epoch(runner, {})
    return sorted(path.name for path in hook.out_dir.iterdir())


def test_worst_first_and_unlabelled_last(runner, tmp_path):
    assert run(PredictionSheetsHook(tmp_path / 'all'), runner, outputs(runner)) == [
        '0001_wrong_40.0pct_a_2.png', '0002_wrong_40.0pct_a_1.png', '0003_wrong_10.0pct_a_1.png',
        '0004_wrong_0.0pct_b.png', '0005_unlabelled_c.png']


def test_only_the_worst_are_kept_whatever_the_order(runner, tmp_path):
    samples = list(outputs(runner))
    for order, batch in (('forward', samples), ('backward', samples[::-1])):
        hook = PredictionSheetsHook(tmp_path / order, num=2)
        assert run(hook, runner, batch) == ['0001_wrong_40.0pct_a_2.png', '0002_wrong_40.0pct_a_1.png']
        assert len(hook._worst) == 2


def test_an_image_given_to_two_processes_gets_one_sheet(runner, tmp_path, monkeypatch):
    monkeypatch.setattr('egmim_mm.engine.hooks.prediction_sheets.all_gather_object', lambda part: [part[:4], part[2:]])
    assert len(run(PredictionSheetsHook(tmp_path / 'two'), runner, outputs(runner))) == 5


def test_what_is_refused(runner, tmp_path):
    with pytest.raises(ValueError, match='num of sheets is 0'):
        PredictionSheetsHook(tmp_path, num=0)
    (sample, *_) = outputs(runner)
    run(PredictionSheetsHook(tmp_path / 'one'), runner, [sample])
    with pytest.raises(ValueError, match='holds sheets of an earlier test'):
        PredictionSheetsHook(tmp_path / 'one').before_test(runner)
    del sample.gt_sem_seg
    with pytest.raises(ValueError, match='comes without labels'):
        PredictionSheetsHook(tmp_path / 'new').after_test_iter(runner, 0, outputs=[sample])
