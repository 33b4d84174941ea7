"""Weak labels through the tools: clicked pixels in read-outs and trainings, tags, labels drawn in a GIS."""
import json

import numpy as np
import pyogrio
import pytest
import shapely
from toy_scenes import PLACE, scene, write_raster

POINTS = """
_base_ = ['{upernet}', '{root}/configs/_base_/second_stage.py']
train_pipeline = [
    *_base_.train_pipeline[:2], dict(type='egmim_mm.SparseLabels', points={points}), *_base_.train_pipeline[2:-1],
    dict(type='egmim_mm.PackTiles')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_iters=4)
"""
SEMI = """
model = dict(_base_.second_stage.model, threshold=0.34)
train_dataloader.update(sampler=_base_.second_stage.sampler)
train_dataloader['dataset'].update(tags='{tags}')
custom_hooks = [dict(type='egmim_mm.MeanTeacherHook', allow_test_tiles=True)]
label_presets = [dict(name='second stage', settings=dict())]
"""
READOUT = """
label_presets = [dict(name='read-out', settings=dict(
    model=dict(decode_head=dict(_delete_=True, type='egmim_mm.ReadoutHead', in_index=[0, 1, 2, 3],
                                groups=[[0, 1, 2, 3]]), auxiliary_head=None),
    train_cfg=dict(_delete_=True, type='egmim_mm.ReadoutLoop', cells=600,
                   classifiers=dict(type='discriminant', shrinkage=0.1))))]
"""


@pytest.fixture
def config(tiny, tmp_path, request):
    def write(text, points=40, **values):
        path = tmp_path / 'weak.py'
        path.write_text((POINTS + text).format(upernet=tiny.upernet, root=request.config.rootpath, points=points,
                                               **values))
        return path

    return write


def training(folder):
    return json.loads((folder / 'results.json').read_text())['protocol']['training']


def test_readouts_of_clicked_pixels(config, weights, call, tmp_path):
    for points in (40, 400):
        call('analyze', 'readouts', config(READOUT, points), '--budgets', 3, '--label-seeds', 0, '--backbone',
             f'own={weights}', '--out', tmp_path / 'out', '--device', 'cpu')
        assert training(tmp_path / 'out/own/3_seed0')['split']['sparse_labels'] == dict(points=points)
        if points == 40:
            with pytest.raises(SystemExit, match='results.json is of another training: give another --out'):
                call('analyze', 'readouts', config(READOUT, 41), '--budgets', 3, '--label-seeds', 0, '--backbone',
                     f'own={weights}', '--out', tmp_path / 'out', '--device', 'cpu')
            (tmp_path / 'out').rename(tmp_path / 'few')
    few, many = (json.loads((tmp_path / name / 'own/3_seed0/results.json').read_text())['metrics']['mIoU']
                 for name in ('few', 'out'))
    assert 34 < few <= many + 5  # the classes are grey levels: a third is chance


def test_a_second_stage_of_clicked_pixels_and_tags(config, call, tmp_path):
    tags = tmp_path / 'tags.csv'
    tags.write_text(''.join(f'{tile},bright\n' for tile in range(8)))
    call('train', config(SEMI, tags=tags), '--budget', 3, '--work-dir', tmp_path / 'run')
    lines = [json.loads(line) for file in (tmp_path / 'run').glob('*/vis_data/scalars.json')
             for line in file.read_text().splitlines() if 'loss' in line]
    assert len(lines) == 4 and all(np.isfinite(line['loss']) and line['decode.loss_ce'] > 0 for line in lines)
    # the teacher of random weights finds dark nearly everywhere
    assert all(line['accepted_dark'] == line['accepted_middle'] == 0 and line['accepted'] < 0.5 for line in lines)
    tags.write_text('0,dark\n1,wood\n')
    with pytest.raises(SystemExit, match="^Error: tags .*: tile '1' has the class 'wood'; the classes are dark, mid"):
        call('train', config(SEMI, tags=tags), '--budget', 3, '--work-dir', tmp_path / 'other')


def test_labels_drawn_in_a_gis_become_a_data_set(call, tmp_path, capsys):
    image, truth = scene(96)
    write_raster(tmp_path / 'in/images/a.tif', image)
    rows, columns = np.divmod(np.random.default_rng(0).permutation(96 * 96)[:60], 96)
    points = [shapely.Point(PLACE['transform'] * (column + 0.5, row + 0.5)) for row, column in zip(rows, columns)]
    kinds = np.array([f'kind_{truth[row, column]}' for row, column in zip(rows, columns)], object)
    pyogrio.raw.write(tmp_path / 'labels.gpkg', shapely.to_wkb(np.array(points, object)), [kinds], ['kind'],
                      geometry_type='Point', crs=PLACE['crs'])
    arguments = [tmp_path / 'in', '--out', tmp_path / 'tiles', '--labels', tmp_path / 'labels.gpkg', '--class-field',
                 'kind', '--crop', 32, '--workers', 1]
    call('dataset_converters/folder', *arguments, '--radius', 0)
    counts = json.loads((tmp_path / 'tiles/dataset.json').read_text())['splits']['train']['class_pixels']['ann_dir']
    assert counts == dict(zip(*np.unique(kinds, return_counts=True)))
    assert 'dataset_config.py: copy it' in capsys.readouterr().out
    with pytest.raises(SystemExit, match="^Error: .*labels.gpkg: features of the class 'kind_"):
        call('dataset_converters/folder', *arguments, '--overwrite', '--classes', 'wood')
