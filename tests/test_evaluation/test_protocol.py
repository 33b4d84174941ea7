from types import SimpleNamespace

import pytest

from egmim_mm.checks import share_out
from egmim_mm.evaluation.protocol import (
    check_same_data,
    class_names,
    describe_batch,
    describe_labels,
    describe_progress,
    describe_split,
    describe_training,
    evaluated_part,
    lr_scale,
    selecting_hook,
)

DATASET = dict(type='egmim_mm.SegmentationTiles', data_root='data/dubai', include='image_part_00[1-6]',
               data_prefix=dict(img_path='*/images', seg_map_path='*/masks'), ann_file='',
               pipeline=[dict(type='egmim_mm.LoadTile')])


def test_split_keeps_what_selects_files():
    assert describe_split(DATASET, range(48)) == dict(
        type='egmim_mm.SegmentationTiles', data_root='data/dubai', include='image_part_00[1-6]',
        data_prefix=dict(img_path='*/images', seg_map_path='*/masks'), num_tiles=48)


def test_labels_name_the_tiles_of_a_budget():
    cfg = dict(type='egmim_mm.LabelBudgetSampler', budget=0.05, seed=2)
    sampler = SimpleNamespace(tile_names=('tile_1/a', 'tile_2/b'), budget=0.05, seed=2,
                              strategy='class_covering')
    assert describe_labels(cfg, sampler) == dict(
        sampler='egmim_mm.LabelBudgetSampler', budget=0.05, seed=2, strategy='class_covering',
        tiles=['tile_1/a', 'tile_2/b'])


def test_a_plain_sampler_uses_all_tiles():
    facts = describe_labels(dict(type='InfiniteSampler', shuffle=True), SimpleNamespace(seed=7))
    assert facts == dict(sampler='InfiniteSampler', seed=7, tiles=None)


def test_training_gives_the_global_batch():
    cfg = dict(train_dataloader=dict(batch_size=4, dataset=DATASET, sampler=dict(type='InfiniteSampler')),
               train_cfg=dict(max_iters=250))
    loader = SimpleNamespace(batch_size=4, dataset=range(48), sampler=SimpleNamespace())
    batch = dict(global_batch=8, processes=2, accumulation=1, lr=1e-4)
    facts = describe_training(cfg, loader, seed=3, batch=batch)
    assert facts.items() >= batch.items() and (facts['max_iters'], facts['seed']) == (250, 3)
    assert facts['split']['num_tiles'] == 48


@pytest.mark.parametrize('loop, steps, seen', [(dict(shares=share_out(8, 1, 4)), 5, 40), (dict(), 3, 20)])
def test_batch_and_progress(loop, steps, seen):
    wrapper = dict(optimizer=dict(lr=1e-3)) | (dict() if loop else dict(accumulative_counts=2))
    runner = SimpleNamespace(train_loop=SimpleNamespace(**loop), train_dataloader=SimpleNamespace(batch_size=4),
                             cfg=dict(optim_wrapper=wrapper, auto_scale_lr=dict(enable=True, base_batch_size=16)))
    assert describe_batch(runner) == dict(global_batch=8, processes=1, accumulation=2, lr=5e-4)
    # five iterations are five steps of the one loop; of the other, two whole steps and the last one of one part
    assert describe_progress(runner, 5) == dict(optimizer_steps=steps, images_seen=seen)


def test_rate_without_scaling():
    assert lr_scale(None, 8) == lr_scale(dict(enable=False, base_batch_size=16), 8) == 1
    assert lr_scale(dict(enable=True, base_batch_size=16), 8) == 0.5


def test_class_names():
    assert class_names(SimpleNamespace(metainfo=dict(classes=('a', 'b')))) == ['a', 'b']
    assert class_names(SimpleNamespace(metainfo={})) is None and class_names(range(3)) is None


def loaders(val, test):
    return {f'{name}_dataloader': own and dict(dataset=own) for name, own in (('val', val), ('test', test))}


def test_the_part_that_is_evaluated():
    read = DATASET | dict(pipeline=[], test_mode=True)  # the same images, read in another way
    dev, others = DATASET | dict(part='dev', dev_tiles=['*_6']), DATASET | dict(include='image_part_007')
    for val, test, parts in ((read, DATASET, ('test', 'test')), (others, DATASET, ('val', 'test')),
                             (dev, dev, ('dev', 'dev')), (dev, DATASET, ('dev', 'test')), (None, read, (None, 'test')),
                             (read, None, ('val', None))):
        assert tuple(evaluated_part(loaders(val, test), phase) for phase in ('val', 'test')) == parts


def test_what_the_weights_are_chosen_on_is_recorded():
    loader = SimpleNamespace(dataset=range(3), sampler=None)
    cfg = loaders(DATASET, DATASET) | dict(label_preset=dict(name='few'))
    recorded = describe_training(cfg, loader, 0, {})
    assert (recorded['selected_on'], recorded['preset']) == (None, dict(name='few'))
    for hooks in (dict(custom_hooks=[dict(type='EMAHook'), dict(type='EarlyStoppingHook')]),
                  dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', save_best='mIoU')))):
        assert describe_training(cfg | hooks, loader, 0, {})['selected_on'] == 'test'
        assert selecting_hook(hooks) in ('custom_hooks.1 (EarlyStoppingHook)',
                                         "default_hooks.checkpoint.save_best='mIoU'")


def test_a_resumed_run_needs_the_same_unlabelled_images():
    before, now = (dict(split=dict(num_tiles=8), labels=dict(tiles=['a'], unlabelled=number)) for number in (7, 9))
    check_same_data(before, before)
    check_same_data(dict(before, labels=dict(tiles=['a'])), now)  # of an earlier version
    with pytest.raises(ValueError, match='began with 7 unlabelled images, and there are 9 now'):
        check_same_data(before, now)
