"""The main job at toy size: DAPT, fine-tuning from it, test; with the tools a user calls."""
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix

from egmim_mm.checkpoints import describe_source, read_checkpoint


@pytest.fixture(scope='module')
def chain(tiny, tmp_path_factory):
    """Work dirs of a DAPT run, of a fine-tuning run from it, and the folder of its test predictions."""
    return tmp_path_factory.mktemp('chain')


def test_dapt_finetune_test(tiny, chain, call, capsys, losses):
    call('train', tiny.egmim, '--work-dir', chain / 'dapt', '--seed', 3)
    checkpoint = read_checkpoint(chain / 'dapt/last.pth')
    assert checkpoint['meta']['iter'] == 12 and (chain / 'dapt/last.pth').resolve().name == 'iter_12.pth'
    assert (checkpoint['state_dict']['term_scale'] > 0).all()
    assert np.isfinite(losses(chain / 'dapt')).all() and len(losses(chain / 'dapt')) == 12

    call('train', tiny.upernet, '--work-dir', chain / 'seg', '--backbone', chain / 'dapt')
    assert '% of its parameters loaded' in capsys.readouterr().out
    trained = json.loads((chain / 'seg/results.json').read_text())
    source = describe_source(chain / 'dapt')
    assert trained['backbone_source']['sha256'] == source['sha256']
    lineage = read_checkpoint(chain / 'seg/last.pth')['meta']['lineage']
    assert [(step['config'], step['iterations'], step['seed']) for step in lineage] == [('egmim.py', 12, 3),
                                                                                       ('upernet.py', 12, 0)]

    call('test', tiny.upernet, chain / 'seg', '--out', chain / 'maps')
    tested = json.loads((chain / 'seg/results.json').read_text())
    assert tested['phase'] == 'test'
    truth, predicted = [], []
    for path in sorted((tiny.data / 'masks').glob('*.png')):
        mask = np.array(Image.open(path))
        truth.append(mask[mask != 255])
        predicted.append(np.array(Image.open(chain / 'maps' / path.name))[mask != 255])
    counts = confusion_matrix(np.concatenate(truth), np.concatenate(predicted), labels=range(3))
    iou = np.diag(counts) / (counts.sum(0) + counts.sum(1) - np.diag(counts))
    assert tested['metrics']['mIoU'] == pytest.approx(100 * iou.mean(), abs=1e-9)
    assert tested['metrics']['mIoU'] == pytest.approx(trained['metrics']['mIoU'], abs=1e-9)


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
    (['--backbone', '{dapt}', '--cfg-options', 'model.backbone.arch.embed_dims=16', 'model.head.in_channels=128',
      'model.structure_head.in_channels=(16,32)'], 'another architecture'),
    (['--work-dir', '{dapt}'], 'add --resume'),
    (['--resume', '{tmp}/iter_5.pth'], 'no such checkpoint'),
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
    with pytest.raises((SystemExit, ValueError)) as caught:
        call('train', tiny.egmim, *arguments)
    assert message in str(caught.value)
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_nan_loss_stops_and_keeps_the_last_good_checkpoint(tiny, call, tmp_path):
    call('train', tiny.simmim, '--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_iters=4')
    with pytest.raises(SystemExit, match='NaN or infinite at iteration .*iter_4.pth'):
        call('train', tiny.simmim, '--work-dir', tmp_path, '--resume', '--cfg-options', 'train_cfg.max_iters=40',
             'train_dataloader.dataset.pipeline.1.scale_range=(0.67,1.5)', 'model.data_preprocessor.std=[nan,1,1]')
    assert (tmp_path / 'last.pth').resolve().name == 'iter_4.pth'
    weights = read_checkpoint(tmp_path / 'last.pth')['state_dict']
    assert all(torch.isfinite(w).all() for w in weights.values())


@pytest.mark.parametrize('budget', [0, 9, 1.5])
def test_label_budget_that_cannot_be_met(tiny, call, tmp_path, budget):
    with pytest.raises((SystemExit, ValueError), match='budget'):
        call('train', tiny.upernet, '--work-dir', tmp_path, '--cfg-options',
             f'train_dataloader.sampler.budget={budget}')
