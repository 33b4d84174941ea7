"""A global batch, shared out to processes and parts; what cannot be is refused with what to change."""
import pytest
from mmengine.config import Config

from egmim_mm.checks import LaunchError, share_out, shares_of
from egmim_mm.checks.batch_checks import labelled_images


@pytest.mark.parametrize('batch, processes, limit, accumulation, images', [
    (8, 1, None, 1, 8), (8, 8, None, 1, 1), (8, 2, 4, 1, 4), (8, 2, 100, 1, 4), (8, 2, 3, 2, 2), (8, 1, 1, 8, 1),
    (512, 1, 64, 8, 64), (512, 8, 64, 1, 64), (512, 16, 64, 1, 32), (7, 1, 4, 7, 1), (12, 1, 5, 3, 4)])
def test_as_few_equal_parts_as_the_limit_allows(batch, processes, limit, accumulation, images):
    shares = share_out(batch, processes, limit)
    assert shares == (batch, processes, accumulation, images)
    assert shares.global_batch == shares.processes * shares.accumulation * shares.images


def test_in_words():
    assert str(share_out(8, 1)) == '8 images a step over 1 process'
    assert str(share_out(512, 8)) == '512 images a step over 8 processes, 64 for each'
    assert str(share_out(512, 2, 64)) == '512 images a step over 2 processes, 256 for each, in 4 parts of 64'


@pytest.mark.parametrize('batch, processes, says', [
    (8, 3, 'start 1 or 2 of them, or change the recipe to a multiple of 3 images (train_cfg.global_batch=6)'),
    (8, 16, 'start 1, 2, 4 or 8 of them, or change the recipe to a multiple of 16 images (train_cfg.global_batch=16)'),
    (7, 2, 'start 1 of them, or change the recipe to a multiple of 2 images (train_cfg.global_batch=6)')])
def test_processes_that_cannot_share_equally(batch, processes, says):
    with pytest.raises(LaunchError) as error:
        share_out(batch, processes)
    assert str(error.value) == (f'train_cfg.global_batch is {batch} images a step, which {processes} processes cannot '
                                f'share equally: {says}; the learning rate follows')


@pytest.mark.parametrize('batch, limit, name', [
    (None, None, 'global_batch is None'), (0, None, 'global_batch is 0'),
    (8.0, None, 'global_batch is 8.0'), ('8', None, "global_batch is '8'"),
    (8, 0, 'max_batch_per_process is 0'), (8, 2.5, 'max_batch_per_process is 2.5')])
def test_no_numbers_of_images(batch, limit, name):
    with pytest.raises(LaunchError, match=f'train_cfg.{name}: give a number of images, 1 or more'):
        share_out(batch, 1, limit)


def config(loop=dict(), loader=dict(), **wrapper):
    return Config(dict(train_cfg=dict(type='egmim_mm.GlobalBatchLoop', global_batch=8) | loop,
                       train_dataloader=dict(num_workers=0) | loader,
                       optim_wrapper=dict(type='OptimWrapper') | wrapper))


def test_of_a_config():
    assert shares_of(config(dict(max_batch_per_process=2)), 2) == (8, 2, 2, 2)
    assert shares_of(config(loader=dict(batch_size=4)), 2) == (8, 2, 1, 4)  # says the same
    with pytest.raises(LaunchError, match='train_cfg.global_batch is None: give a number of images'):
        shares_of(config(dict(global_batch=None)), 2)
    assert shares_of(Config(dict(train_cfg=dict(type='IterBasedTrainLoop'), train_dataloader=dict(batch_size=3))),
                     2) is None


def test_pairs_of_unlabelled_images_are_not_divided():
    mixed = dict(sampler=dict(labelled_share=0.25))
    assert shares_of(config(loader=mixed), 1) == (8, 1, 1, 8)
    for loop, processes in ((dict(max_batch_per_process=4), 1), (dict(), 2)):
        with pytest.raises(LaunchError, match='of 4 images 3 would be unlabelled, and these are mixed in pairs, which'):
            shares_of(config(loop, mixed), processes)
    assert shares_of(config(dict(global_batch=4), mixed), 1).images == 4  # nothing is divided
    assert shares_of(config(dict(max_batch_per_process=4), dict(sampler=dict(labelled_share=0.5))), 1).images == 4


@pytest.mark.parametrize('cfg, says', [
    (config(loader=dict(batch_size=8)), 'train_dataloader.batch_size is 8, but train_cfg.global_batch=8 makes it 4 '
     'with 2 processes: leave batch_size out. For less memory and the same training set train_cfg.max_batch'),
    (config(accumulative_counts=2), 'optim_wrapper.accumulative_counts is 2, but accumulation follows from '
     'train_cfg.global_batch=8: leave it out'),
    (config(dict(type='IterBasedTrainLoop')), 'train_cfg.type is IterBasedTrainLoop, which reads no global_batch (8): '
     'leave the type out, or set train_cfg=dict(_delete_=True')])
def test_settings_that_say_something_else(cfg, says):
    with pytest.raises(LaunchError) as error:
        shares_of(cfg, 2)
    assert str(error.value).startswith(says) and '\n' not in str(error.value)


def test_labelled_images_of_a_part():
    assert labelled_images({}, 8) == 8
    assert labelled_images(dict(sampler=dict(labelled_share=0.25)), 8) == 2
    with pytest.raises(LaunchError, match='8 images at once, of which 3/5 cannot be labelled .*multiples of 5 images'):
        labelled_images(dict(sampler=dict(labelled_share=0.6)), 8)
    with pytest.raises(LaunchError, match='labelled_share is 1: a share of each batch above 0 and below 1'):
        labelled_images(dict(sampler=dict(labelled_share=1)), 8)
