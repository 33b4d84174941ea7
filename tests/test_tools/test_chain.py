"""The main job at toy size: DAPT, fine-tuning from it, test; with the tools a user calls."""
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix

from egmim_mm.checkpoints import describe_source, read_checkpoint


@pytest.fixture(scope='module')
def chain(tiny, call, tmp_path_factory):
    """Folder with the work dirs of a DAPT run (``dapt``) and of a fine-tuning run from it (``seg``)."""
    folder = tmp_path_factory.mktemp('chain')
    call('train', tiny.egmim, '--work-dir', folder / 'dapt', '--seed', 3)
    call('train', tiny.upernet, '--work-dir', folder / 'seg', '--backbone', folder / 'dapt')
    return folder


def test_dapt_leaves_a_complete_work_dir(chain, losses):
    checkpoint = read_checkpoint(chain / 'dapt/last.pth')
    assert checkpoint['meta']['iter'] == 12 and (chain / 'dapt/last.pth').resolve().name == 'iter_12.pth'
    assert (checkpoint['state_dict']['balance.scale'] > 0).all()
    assert np.isfinite(losses(chain / 'dapt')).all() and len(losses(chain / 'dapt')) == 12
    assert (chain / 'dapt/results.json').is_file() and (chain / 'dapt/egmim.py').is_file()


def test_finetuning_says_where_its_backbone_came_from(chain):
    (log, ) = (chain / 'seg').glob('*/*.log')
    assert '% of its parameters loaded' in log.read_text()
    trained = json.loads((chain / 'seg/results.json').read_text())
    assert trained['backbone_source']['sha256'] == describe_source(chain / 'dapt')['sha256']
    lineage = read_checkpoint(chain / 'seg/last.pth')['meta']['lineage']
    assert [(step['config'], step['iterations'], step['seed']) for step in lineage] == [('egmim.py', 12, 3),
                                                                                       ('upernet.py', 12, 0)]


def test_miou_equals_scikit_learn_on_the_saved_predictions(tiny, chain, call, tmp_path):
    call('test', tiny.upernet, chain / 'seg', '--out', tmp_path / 'maps', '--work-dir', tmp_path)
    tested = json.loads((tmp_path / 'results.json').read_text())
    assert tested['phase'] == 'test'
    truth, predicted = [], []
    for path in sorted((tiny.data / 'masks').glob('*.png')):
        mask = np.array(Image.open(path))
        truth.append(mask[mask != 255])
        predicted.append(np.array(Image.open(tmp_path / 'maps' / path.name))[mask != 255])
    counts = confusion_matrix(np.concatenate(truth), np.concatenate(predicted), labels=range(3))
    iou = np.diag(counts) / (counts.sum(0) + counts.sum(1) - np.diag(counts))
    assert tested['metrics']['mIoU'] == pytest.approx(100 * iou.mean(), abs=1e-9)
    trained = json.loads((chain / 'seg/results.json').read_text())
    assert tested['metrics']['mIoU'] == pytest.approx(trained['metrics']['mIoU'], abs=1e-9)


def test_show_dir_gets_the_worst_images_first(tiny, chain, call, tmp_path):
    arguments = (tiny.upernet, chain / 'seg', '--out', tmp_path / 'maps', '--work-dir', tmp_path)
    call('test', *arguments, '--show-dir', tmp_path / 'show')
    shares = {}
    for path in (tiny.data / 'masks').glob('*.png'):
        mask, guess = np.array(Image.open(path)), np.array(Image.open(tmp_path / 'maps' / path.name))
        shares[path.stem] = 100 * (mask != guess)[mask != 255].mean()
    ranked = sorted(shares, key=lambda name: (-shares[name], name))
    assert sorted(p.name for p in (tmp_path / 'show').iterdir()) == [
        f'{rank:04d}_wrong_{shares[name]:.1f}pct_{name}.png' for rank, name in enumerate(ranked, 1)]
    with pytest.raises(SystemExit, match='holds sheets of an earlier test'):
        call('test', *arguments, '--show-dir', tmp_path / 'show')
    call('test', *arguments, '--show-dir', tmp_path / 'two', '--show-num', 2, '--tta')
    assert len(list((tmp_path / 'two').iterdir())) == 2


def test_a_pretraining_checkpoint_is_not_scored(tiny, chain, call):
    before = (chain / 'dapt/results.json').read_text()
    with pytest.raises(SystemExit, match='does not hold the weights .*pretraining'):
        call('test', tiny.upernet, chain / 'dapt')
    assert (chain / 'dapt/results.json').read_text() == before


def test_tta_scores_all_pixels(tiny, chain, call):
    call('test', tiny.upernet, chain / 'seg', '--tta', '--work-dir', chain / 'tta')
    plain, tta = (json.loads((chain / name / 'results.json').read_text()) for name in ('seg', 'tta'))
    assert np.sum(tta['confusion']['counts']) == np.sum(plain['confusion']['counts'])
    assert tta['confusion']['counts'] != plain['confusion']['counts']
    assert abs(tta['metrics']['OA'] - plain['metrics']['OA']) < 15


def test_backbone_starts_from_the_dapt_weights(tiny, chain, call, tmp_path):
    call('train', tiny.simmim, '--work-dir', tmp_path, '--backbone', chain / 'dapt', '--cfg-options',
         'train_cfg.max_iters=1', 'optim_wrapper.optimizer.lr=0')
    before = read_checkpoint(chain / 'dapt/last.pth')['state_dict']
    after = read_checkpoint(tmp_path / 'last.pth')['state_dict']
    shared = [k for k in after if k.startswith('backbone.') and k in before]
    assert len(shared) > 50 and 'backbone.mask_token' in shared
    assert all(torch.equal(before[k], after[k]) for k in shared)


@pytest.mark.parametrize('arguments, message', [
    (['--resume', '--backbone', '{dapt}'], 'give one of them'),
    (['--backbone', '{tmp}/nothing.pth'], 'does not exist'),
    (['--backbone', '{dapt}', '--cfg-options', 'model.backbone.arch.embed_dims=16'], 'another architecture'),
    (['--work-dir', '{dapt}'], 'add --resume'),
    (['--resume', '{tmp}/iter_5.pth'], 'no such checkpoint'),
    (['--resume'], 'holds no checkpoint to go on from'),
    (['--cfg-options', 'model.mask_generator.policy=edgy'], 'edge_adaptive'),
    (['--cfg-options', 'train_dataloader.dataset.data_root={tmp}/void'], 'void does not exist'),
    (['--cfg-options', 'train_dataloader.dataset.min_size=200'], '96'),
])
def test_bad_commands_are_refused_before_training(tiny, chain, call, tmp_path, capsys, arguments, message):
    arguments = [a.format(dapt=chain / 'dapt', tmp=tmp_path) for a in arguments]
    if '--work-dir' not in arguments:
        arguments += ['--work-dir', str(tmp_path / 'run')] if '--cfg-options' not in arguments else []
        if '--cfg-options' in arguments:
            arguments = ['--work-dir', str(tmp_path / 'run'), *arguments]
    with pytest.raises(SystemExit) as caught:
        call('train', tiny.egmim, *arguments)
    assert message in str(caught.value)
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_nan_loss_stops_and_keeps_the_last_good_checkpoint(tiny, call, tmp_path):
    call('train', tiny.simmim, '--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_iters=4')
    with pytest.raises(SystemExit, match='NaN or infinite at iteration .*iter_4.pth'):
        call('train', tiny.simmim, '--work-dir', tmp_path, '--resume', '--cfg-options', 'train_cfg.max_iters=40',
             'optim_wrapper.optimizer.lr=1e30')
    assert (tmp_path / 'last.pth').resolve().name == 'iter_4.pth'
    weights = read_checkpoint(tmp_path / 'last.pth')['state_dict']
    assert all(torch.isfinite(w).all() for w in weights.values())


def test_number_of_classes_must_be_that_of_the_data(tiny, call, tmp_path):
    with pytest.raises(SystemExit, match='num_classes is 4, but the data has 3 classes'):
        call('train', tiny.upernet, '--work-dir', tmp_path, '--cfg-options', 'model.decode_head.num_classes=4')


@pytest.mark.parametrize('workers', [0, 2])
def test_a_truncated_image_is_named_in_one_line(tiny, call, tmp_path, workers):
    shutil.copytree(tiny.data, tmp_path / 'data')
    broken = tmp_path / 'data/images/5.png'
    broken.write_bytes(broken.read_bytes()[:4000])
    with pytest.raises(SystemExit) as caught:
        call('train', tiny.simmim, '--work-dir', tmp_path / 'run', '--cfg-options',
             f'train_dataloader.num_workers={workers}', f'train_dataloader.persistent_workers={workers > 0}',
             f'train_dataloader.dataset.data_root={tmp_path}/data/images')
    assert '5.png' in str(caught.value) and 'truncated' in str(caught.value) and 'Traceback' not in str(caught.value)


@pytest.mark.parametrize('budget', [0, 9, 1.5])
def test_label_budget_that_cannot_be_met(tiny, call, tmp_path, budget):
    with pytest.raises(SystemExit, match='Error: label budget'):
        call('train', tiny.upernet, '--work-dir', tmp_path, '--cfg-options',
             f'train_dataloader.sampler.budget={budget}')
