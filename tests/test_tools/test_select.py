"""tools/train.py --select cv: presets compared on labelled tiles alone."""
import json
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from egmim_mm.checks import LaunchError
from egmim_mm.engine import preset_selection
from egmim_mm.engine.launch import load_config
from egmim_mm.registry import DATA_SAMPLERS, DATASETS

CONFIG = """
_base_ = '{upernet}'
__model = dict(pixel_features=dict(scale=0.5), auxiliary_head=None)
__head = dict(_delete_=True, type='egmim_mm.ReadoutHead', in_index=[0, 1, 2, 3, 4], groups=[[0, 1, 2, 3], [4]])
__loop = dict(_delete_=True, type='egmim_mm.ReadoutLoop', cells=300)
__both = [dict(type='discriminant', shrinkage=0.1), dict(type='logistic', l2=1e-3)]
optim_wrapper = dict(precision='float32')
__loss = dict(loss_decode=dict(class_weight=[1.0, 2.0, 3.0]))  # in whose place the hook puts those of each fold
model = dict(decode_head=__loss, auxiliary_head=__loss)
train_dataloader = dict(dataset=dict(data_root='{data}'))
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = dict(dataset=dict(data_root='{data}'))
dev_tiles = ['6', '7']
label_presets = [
    dict(name='vague', up_to=4, settings=dict(
        model=dict(**__model, decode_head=dict(__head, in_index=[3], groups=[[3]])),
        train_cfg=dict(**__loop, classifiers=[dict(type='discriminant', shrinkage=1.0)])), alternatives=[
        dict(name='sharp', settings=dict(
            model=dict(**__model, decode_head=__head), train_cfg=dict(**__loop, classifiers=__both))),
        dict(name='short training', settings=dict(
            train_cfg=dict(max_iters=4), custom_hooks=[dict(type='egmim_mm.ClassWeightsHook', power=0.5)]))]),
    dict(name='all', settings=dict())]
"""


def labelled(config, budget):
    cfg = load_config(str(config), budget=budget, dev=True, preset='all')
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        return DATA_SAMPLERS.build(cfg.train_dataloader.sampler, default_args=dict(dataset=dataset)).tile_names


@pytest.fixture(scope='module')
def config(tiny, tmp_path_factory):
    """A config of whose images all but the three that are labelled end after their headers."""
    folder = tmp_path_factory.mktemp('select')
    for file in (*tiny.data.glob('images/*.png'), *tiny.data.glob('masks/*.png')):
        copy = folder / 'data' / file.relative_to(tiny.data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    path = folder / 'select.py'
    path.write_text(CONFIG.format(upernet=tiny.upernet, data=folder / 'data'))
    for image in (folder / 'data/images').iterdir():
        if image.stem not in labelled(path, '3'):
            image.write_bytes(image.read_bytes()[:200])
    return path


@pytest.fixture(scope='module')
def selected(config, weights, call, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('run')
    call('train', config, '--work-dir', work_dir, '--backbone', weights, '--budget', 3, '--dev', '--select', 'cv')
    training = json.loads((work_dir / 'results.json').read_text())['protocol']['training']
    return SimpleNamespace(dir=work_dir, training=training,
                           log=''.join(path.read_text() for path in work_dir.glob('*/*.log')))


def test_what_is_best_on_left_out_tiles_is_trained(selected, config):
    preset = selected.training['preset']
    selection = preset['selection']
    assert preset['name'] == 'sharp' == selection['taken']['name'] and selected.training['max_iters'] == 1
    assert sorted(tile for fold in selection['folds'] for tile in fold) == sorted(labelled(config, '3'))
    rows = [(row['name'], row['iterations']) for row in selection['candidates']]
    assert rows == [('vague', None), ('sharp', None), *(('short training', length) for length in (1, 2, 3, 4))]
    scores = [row['mIoU'] for row in selection['candidates']]
    assert scores[1] > 75 and scores[1] - max(scores[0], *scores[2:]) > 20
    assert f"--select cv takes 'sharp': it is better than the preset of the budget by {scores[1] - scores[0]:.1f}" in (
        selected.log)
    assert json.loads((selected.dir / 'select/selection.json').read_text()) == selection


def test_folds_leave_their_logs_and_no_checkpoints(selected):
    folds = selected.dir / 'select/short_training'
    assert sorted(path.name for path in folds.iterdir()) == ['fold_1', 'fold_2', 'fold_3']
    assert len(list(folds.glob('fold_?/judged.json'))) == 3 and not list(folds.rglob('*.pth'))


def test_classes_are_weighed_by_the_tiles_that_a_fold_keeps(selected, config):
    masks = {name: np.array(Image.open(config.parent / f'data/masks/{name}.png')) for name in labelled(config, '3')}
    lines = []
    for number, (left_out, ) in enumerate(selected.training['preset']['selection']['folds'], 1):
        kept = np.concatenate([mask.ravel() for name, mask in masks.items() if name != left_out])
        shares = np.bincount(kept[kept < 3], minlength=3) / (kept < 3).sum()
        wanted = shares**-0.5 / (shares**0.5).sum()  # their mean over the pixels is 1
        log = ''.join(path.read_text() for path in (
            selected.dir / f'select/short_training/fold_{number}').glob('*/*.log'))
        lines.append('Class weights: ' + ', '.join(
            f'{name} {weight:.3g}' for name, weight in zip(('dark', 'middle', 'bright'), wanted)))
        assert f'{lines[-1]} (in place of class_weight in the config)' in log
    assert len(set(lines)) == 3


def test_a_resumed_run_keeps_what_was_selected(selected, config, call, capsys):
    call('train', config, '--work-dir', selected.dir, '--budget', 3, '--dev', '--select', 'cv', '--resume')
    assert capsys.readouterr().out.strip().endswith('is finished: 1 of 1 iters, nothing was changed.')


def test_of_one_tile_none_can_be_left_out(config, weights, call, tmp_path):
    call('train', config, '--work-dir', tmp_path, '--backbone', weights, '--budget', 1, '--dev', '--select', 'cv')
    preset = json.loads((tmp_path / 'results.json').read_text())['protocol']['training']['preset']
    assert preset['name'] == 'vague' and preset['selection']['candidates'] == []
    assert "--select cv takes 'vague': of one labelled tile none can be left out" in ''.join(
        path.read_text() for path in tmp_path.glob('*/*.log'))


@pytest.mark.parametrize(('budget', 'says'), [
    (0, 'label budget 0 labels nothing: give at least 1 tile'),
    (7, 'label budget 7 is larger than the data, which has 6 tiles')])
def test_a_budget_that_cannot_be_had(budget, says, config, call, tmp_path):
    with pytest.raises(SystemExit, match=f'^Error: {says}'):
        call('train', config, '--work-dir', tmp_path, '--budget', budget, '--dev', '--select', 'cv')
    assert not (tmp_path / 'select').exists()


def selected_of(tiny, folder, change, monkeypatch):
    """The selection for three tiles whose masks are changed, if each preset predicted them without a fault."""
    (folder / 'data/masks').mkdir(parents=True)
    (folder / 'data/images').symlink_to(tiny.data / 'images')
    for file in tiny.data.glob('masks/*.png'):
        Image.fromarray(change(file.stem, np.array(Image.open(file)))).save(folder / 'data/masks' / file.name)
    (folder / 'few.py').write_text(CONFIG.format(upernet=tiny.upernet, data=folder / 'data'))
    monkeypatch.setattr(preset_selection, '_judge', lambda candidates, settle, tiles, folds, folder: [
        (name, None, np.array([sum(np.diag(np.bincount(labels[labels < 3], minlength=3)) for labels in (
            tiles.load(tile)[1].numpy() for tile in fold)) for fold in folds])) for name in candidates])
    cfg = preset_selection.select_preset(
        lambda preset: load_config(str(folder / 'few.py'), str(folder / 'run'), dev=True, budget='3', preset=preset),
        lambda cfg: cfg.update(launcher='none'))
    return cfg.label_preset.selection


def test_a_class_in_no_labelled_tile_is_not_judged(tiny, tmp_path, monkeypatch):
    selection = selected_of(tiny, tmp_path, lambda name, mask: np.where(mask == 2, 0, mask).astype(np.uint8),
                            monkeypatch)
    assert (selection.classes, selection.not_judged) == (['dark', 'middle'], ['bright'])
    assert len(selection.folds) == 3 and {row.mIoU for row in selection.candidates} == {100.0}


def test_a_tile_without_labels_is_never_left_out(tiny, tmp_path, monkeypatch):
    selection = selected_of(tiny, tmp_path, lambda name, mask: mask if name in '23' else np.full_like(mask, 255),
                            monkeypatch)
    assert sorted(selection.folds) == [['2'], ['3']] and selection.classes == ['dark', 'middle', 'bright']


def test_labels_that_are_all_ignored_stop_before_anything_is_compared(tiny, tmp_path, monkeypatch):
    with pytest.raises(LaunchError, match='there is nothing to learn from: the labelled tiles .* no labelled pixel'):
        selected_of(tiny, tmp_path, lambda name, mask: np.full_like(mask, 255), monkeypatch)
    assert not (tmp_path / 'run/select').exists()
