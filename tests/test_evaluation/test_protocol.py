from types import SimpleNamespace

from egmim_mm.evaluation.protocol import class_names, describe_labels, describe_split, describe_training

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
    facts = describe_training(cfg, loader, seed=3, processes=2)
    assert (facts['batch_size'], facts['max_iters'], facts['seed']) == (8, 250, 3)
    assert facts['split']['num_tiles'] == 48


def test_class_names():
    assert class_names(SimpleNamespace(metainfo=dict(classes=('a', 'b')))) == ['a', 'b']
    assert class_names(SimpleNamespace(metainfo={})) is None and class_names(range(3)) is None
