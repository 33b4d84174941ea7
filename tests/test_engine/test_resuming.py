"""A resumed run: exact when nothing changed, else as a run of the new settings; what it must keep is refused."""
import shutil

import pytest
import torch

from egmim_mm.checkpoints import CheckpointError, read_checkpoint
from egmim_mm.checks import LaunchError

SCHEDULED = [
    {'optim_wrapper.optimizer.lr': 0.01},
    {'optim_wrapper.optimizer.weight_decay': 0.2},
    {'train_cfg.max_iters': 12},
    {'optim_wrapper.paramwise_cfg.decay_rate': 0.25},
    {'param_scheduler.1.power': 2.0},
    {'param_scheduler': [dict(type='CosineAnnealingLR', by_epoch=False, begin=0.0, end=1.0)]},
    {'auto_scale_lr.enable': False},
]


def weights(folder):
    return read_checkpoint(folder / 'last.pth')['state_dict']


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_unchanged_it_is_exact(toy, tmp_path):
    whole = toy('whole')
    first = toy('cut', until=5)
    second = toy('cut', resume=True)
    assert first.rates[:4] + second.rates == whole.rates and len(second.rates) == 2
    assert same(weights(tmp_path / 'whole'), weights(tmp_path / 'cut'))
    assert 'Changed on resume' not in second.log
    assert len(set(whole.rates[3][:-1])) == 3  # two stages and the head: layer decay


@pytest.mark.parametrize('options', SCHEDULED, ids=lambda options: next(iter(options)))
def test_what_changed_takes_effect_as_if_it_had_been_so_from_the_start(toy, options):
    toy('cut', until=5)
    resumed = toy('cut', options, resume=True)
    planned = toy('planned', options)
    assert resumed.rates == planned.rates[4:]  # to the last bit, in every group
    assert resumed.rates != toy('unchanged').rates[4:]
    assert f'Changed on resume: {next(iter(options))}' in resumed.log


def test_the_log_says_what_it_was_and_what_it_is(toy):
    toy(until=5)
    log = toy(options={'optim_wrapper.optimizer.lr': 0.01, 'default_hooks.checkpoint.interval': 3}, resume=True).log
    assert 'Changed on resume: optim_wrapper.optimizer.lr was 0.1 and is 0.01 now' in log
    assert 'Changed on resume: default_hooks.checkpoint.interval was 2 and is 3 now' in log
    assert log.count('Changed on resume') == 2


def test_the_moments_of_the_optimizer_stay(toy):
    toy(until=5)
    state = toy(options={'optim_wrapper.optimizer.lr': 0.01}, resume=True).runner.optim_wrapper.optimizer.state
    assert {int(moments['step']) for moments in state.values()} == {6}


def test_after_a_change_it_is_exact_again(toy, tmp_path):
    options = {'train_cfg.max_iters': 12}
    toy('a', until=5)
    toy('b', until=5)
    whole = toy('a', options, resume=True)
    first, second = toy('b', options, resume=True, until=9), toy('b', options, resume=True)
    assert first.rates[:4] + second.rates == whole.rates
    assert same(weights(tmp_path / 'a'), weights(tmp_path / 'b'))
    assert second.log.count('Changed on resume: train_cfg.max_iters') == 1  # by the first


def test_a_finished_run_is_extended(toy, tmp_path, results):
    toy()
    extended = toy(options={'train_cfg.max_iters': 12}, resume=True)
    assert extended.rates == toy('long', {'train_cfg.max_iters': 12}).rates[6:] and len(extended.rates) == 6
    assert min(extended.rates[0][:-1]) > 0  # the end of the short schedule was 0
    assert results()['iteration'] == 12 and (tmp_path / 'run/last.pth').resolve().name == 'iter_12.pth'


@pytest.mark.parametrize('options', [{}, {'train_cfg.max_iters': 4}, {'optim_wrapper.optimizer.lr': 1.0}])
def test_a_finished_run_says_so_and_is_left_alone(toy, tmp_path, options):
    evaluated = {'train_cfg.val_begin': 1}
    toy(options=evaluated)
    before = {path.name: path.read_bytes() for path in (tmp_path / 'run').iterdir() if path.is_file()}
    assert b'"mIoU"' in before['results.json']
    again = toy(options=evaluated | options, resume=True)
    length = options.get('train_cfg.max_iters', 6)
    assert again.line == (f'{tmp_path}/run is finished: 6 of {length} iters, nothing was changed. To train longer, add '
                          '--cfg-options train_cfg.max_iters=N') and again.runner is None
    assert {path.name: path.read_bytes() for path in (tmp_path / 'run').iterdir() if path.is_file()} == before


def test_an_evaluation_that_was_cut_off_is_made_up_for(toy, tmp_path, results):
    evaluated = {'train_cfg.val_begin': 1}
    toy(options=evaluated, until=6)  # after its last checkpoint, before its last evaluation
    assert (tmp_path / 'run/iter_6.pth').is_file() and not (tmp_path / 'run/results.json').exists()
    assert toy(options=evaluated, resume=True).rates == []
    assert results()['metrics']['mIoU'] in (1.0, 2.0, 3.0) and results()['iteration'] == 6
    assert results()['training_ended'] is True
    assert 'is finished' in toy(options=evaluated, resume=True).line


@pytest.mark.parametrize('options, named', [
    ({'model.pull': 0.5}, 'model.pull was None and is 0.5 now'),
    ({'train_dataloader.batch_size': 4},
     r'the batch over all processes \(train_dataloader.batch_size x processes\) was 2 and is 4 now'),
    ({'randomness.seed': 5}, 'randomness.seed was 3 and is 5 now'),
    ({'train_dataloader.dataset.number': 8}, 'train_dataloader.dataset.number was None and is 8 now'),
    ({'train_dataloader.sampler.shuffle': False}, 'train_dataloader.sampler.shuffle was True and is False now'),
    ({'optim_wrapper.optimizer.type': 'SGD'}, "optim_wrapper.optimizer.type was 'AdamW' and is 'SGD' now"),
    ({'optim_wrapper.accumulative_counts': 2}, 'optim_wrapper.accumulative_counts was None and is 2 now'),
    ({'model.pull': 0.5, 'randomness.seed': 5, 'train_dataloader.batch_size': 4},
     r'seed .*; model.pull .* \(and 1 more\)'),
])
def test_what_a_run_must_keep_is_refused_by_name(toy, tmp_path, options, named):
    toy(until=5)
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(LaunchError, match=f'--resume: .*{named}.*give what it began with, or start a new run') as error:
        toy(options=options, resume=True)
    assert '\n' not in str(error.value) and sorted(tmp_path.rglob('*')) == before


def test_what_changes_no_sample_and_no_weight_may_change(toy):
    toy(until=5)
    log = toy(options={'train_dataloader.dataset.data_root': 'elsewhere', 'train_dataloader.timeout': 0,
                       'model.test_cfg': dict(mode='slide'), 'train_cfg.val_interval': 7,
                       'optim_wrapper.clip_grad': dict(max_norm=1.0), 'randomness.deterministic': True},
              resume=True).log
    assert log.count('Changed on resume') == 6


def test_two_processes_with_half_the_batch_go_on_with_the_run_of_one(toy, monkeypatch):
    toy(until=5)
    monkeypatch.setattr('egmim_mm.engine.resuming.rank_and_size', lambda launcher: (0, 2))
    with pytest.raises(LaunchError, match='was 2 and is 4 now'):
        toy(resume=True)
    assert toy(options={'train_dataloader.batch_size': 1}, resume=True).line is None


def test_other_data_under_the_same_name_are_refused(toy, tmp_path):
    options = {'train_dataloader.dataset.data_root': str(tmp_path)}
    (tmp_path / 'number.txt').write_text('4')
    toy(until=5, options=options)
    (tmp_path / 'number.txt').write_text('3')
    with pytest.raises(ValueError, match='the run began with 4 training tiles, and there are 3 now.*Restore them'):
        toy(options=options, resume=True)


def test_parameters_grouped_in_another_way_are_refused(toy):
    toy(until=5, options={'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor',
                          'optim_wrapper.paramwise_cfg': None})
    with pytest.raises(CheckpointError, match=r'hold \[6\] parameters, those of this config \[1, 1, 1, 1, 1, 1\]: '
                       'resume with the model and the optim_wrapper that the run was started with'):
        toy(resume=True, options={'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor',
                                  'optim_wrapper.paramwise_cfg': dict(_delete_=True, norm_decay_mult=0.0)})


def test_a_run_with_a_group_for_each_parameter_is_told_how_to_go_on(toy):
    paramwise = dict(_delete_=True, norm_decay_mult=0.0)
    before = {'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor', 'optim_wrapper.paramwise_cfg': paramwise}
    toy(until=5, options=before)
    now = before | {'optim_wrapper.constructor': 'egmim_mm.MergedGroups'}
    with pytest.raises(CheckpointError, match='each of its 6 parameters: to go on with it add --cfg-options '
                       'optim_wrapper.paramwise_cfg.merge_groups=False$'):
        toy(resume=True, options=now)
    now['optim_wrapper.paramwise_cfg'] = paramwise | dict(merge_groups=False)
    resumed = toy(resume=True, options=now)
    assert resumed.rates == toy('whole', before).rates[4:]


def test_a_schedule_that_follows_metrics_cannot_be_changed(toy):
    options = {'param_scheduler': [dict(type='ReduceOnPlateauLR', monitor='mIoU', rule='greater')]}
    toy(until=5, options=options)
    with pytest.raises(CheckpointError, match='ReduceOnPlateau'):
        toy(options=options | {'optim_wrapper.optimizer.lr': 0.01}, resume=True)
    assert len(toy(options=options, resume=True).rates) == 2


def test_a_copied_work_dir_goes_on_by_itself(toy, tmp_path):
    best = {'default_hooks.checkpoint.save_best': 'mIoU', 'train_cfg.val_begin': 1, 'train_cfg.val_interval': 2}
    toy('a', best, until=5)
    shutil.copytree(tmp_path / 'a', tmp_path / 'b', symlinks=True)
    toy('a', best, resume=True)  # goes on in its own way, and rotates its checkpoints
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / 'a').iterdir()}
    resumed = toy('b', best | {'train_cfg.max_iters': 12}, resume=True)
    assert len(resumed.rates) == 8
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / 'a').iterdir()} == before
    known = read_checkpoint(tmp_path / 'b/last.pth')['message_hub']['runtime_info']
    assert {known['last_ckpt'], known['best_ckpt']} <= {str(path) for path in (tmp_path / 'b').iterdir()}


def test_a_moved_work_dir_goes_on(toy, tmp_path):
    toy('a', until=5)
    (tmp_path / 'a').rename(tmp_path / 'b')
    assert len(toy('b', resume=True).rates) == 2 and not (tmp_path / 'a').exists()


def test_checkpoints_in_another_place_than_the_work_dir(toy, tmp_path):
    options = {'default_hooks.checkpoint.out_dir': str(tmp_path / 'large_disk')}
    toy(options=options, until=5)
    assert (tmp_path / 'large_disk/run/iter_4.pth').is_file()
    with pytest.raises(LaunchError, match='large_disk/run holds the checkpoints of an earlier run: add --resume'):
        toy(options=options)
    assert len(toy(options=options, resume=True).rates) == 2


def test_a_work_dir_without_the_checkpoint_it_names(toy, tmp_path):
    toy('a', until=5)
    (tmp_path / 'b').mkdir()
    shutil.copy(tmp_path / 'a/last_checkpoint', tmp_path / 'b')
    with pytest.raises(LaunchError, match='b holds neither the checkpoint that its last_checkpoint names'):
        toy('b', resume=True)


def test_the_weights_it_began_with_may_be_gone(toy, tmp_path):
    toy('first')
    options = {'model.init_cfg': dict(type='Pretrained', checkpoint=str(tmp_path / 'first/iter_6.pth'))}
    toy('second', options, until=5)
    shutil.rmtree(tmp_path / 'first')
    assert len(toy('second', options, resume=True).rates) == 2
    assert len(read_checkpoint(tmp_path / 'second/last.pth')['meta']['lineage']) == 2
