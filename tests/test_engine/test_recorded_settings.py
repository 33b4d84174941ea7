"""What differs between the settings of two runs."""
import pytest
from mmengine.config import Config

from egmim_mm.engine.recorded_settings import Change, compare_settings


def text(**settings):
    return Config(settings).pretty_text


def changes(before, now):
    return [(c.key, c.before, c.now) for c in compare_settings(text(**before), text(**now))]


def test_leaves_are_compared():
    before = dict(model=dict(a=dict(x=1, y=(1, 2)), items=[dict(p=1), dict(p=2)]), train_pipeline=[1])
    now = dict(model=dict(a=dict(x=2, y=[1, 2]), items=[dict(p=1), dict(p=3, q=None)]), train_pipeline=[2])
    assert changes(before, now) == [('model.a.x', 1, 2), ('model.items.1.p', 2, 3)]
    assert changes(dict(model=dict(a=1)), dict(model=dict(b=dict(c=1)))) == [
        ('model.a', 1, None), ('model.b.c', None, 1)]


def test_what_counts_as_equal():
    assert changes(dict(model=dict(a=float('nan'))), dict(model=dict(a=float('nan')))) == []
    assert changes(dict(model=dict(norm=dict(type='SyncBN'))), dict(model=dict(norm=dict(type='BN')))) == []
    assert changes(dict(model=dict(a=1.0, b=None)), dict(model=dict(a=1))) == []
    assert changes(dict(model=dict(backbone=dict(init_cfg=dict(source='x')))), dict(model=dict(backbone={}))) == []
    assert changes(dict(work_dir='a', load_from='b', launcher='none', test_dataloader=dict(a=1)), {}) == []


@pytest.mark.parametrize('key, refused, schedule', [
    ('model.backbone.depth', True, False), ('model.mask_generator.policy', True, False),
    ('model.test_cfg.stride', False, False), ('model.backbone.with_cp', False, False),
    ('train_dataloader.dataset.list_file', True, False), ('train_dataloader.dataset.data_root', False, False),
    ('train_dataloader.dataset.dataset.data_root', False, False), ('train_dataloader.sampler.budget', True, False),
    ('train_dataloader.dataset.pipeline.0.cache_mb', False, False), ('train_dataloader.num_workers', False, False),
    ('train_dataloader.dataset.pipeline.2.crop_size', True, False), ('randomness.seed', True, False),
    ('train_cfg.max_iters', False, True), ('train_cfg.max_epochs', False, True), ('train_cfg.type', True, False),
    ('train_cfg.val_interval', False, False), ('optim_wrapper.optimizer.lr', False, True),
    ('optim_wrapper.optimizer.type', True, True), ('optim_wrapper.paramwise_cfg.custom_keys.x.lr_mult', False, True),
    ('optim_wrapper.type', False, False), ('optim_wrapper.clip_grad.max_norm', False, False),
    ('param_scheduler.0.end', False, True), ('param_scheduler', False, True), ('auto_scale_lr.enable', False, True),
    ('default_hooks.checkpoint.interval', False, False)])
def test_what_a_change_means(key, refused, schedule):
    change = Change(key, 1, 2)
    assert (change.is_refused, change.is_of_schedule) == (refused, schedule)
