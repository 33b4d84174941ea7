import numpy as np
import pytest
from mmengine.config import Config

from egmim_mm.pictures.training_data import TrainingViews

LOAD = [dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask')]
COLORS = np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200)], np.uint8)  # RGB of the classes in the images


@pytest.fixture
def config(tmp_path, write_image):
    """Function: config of labelled tiles of 64 px whose colour is that of their class; 8 rows are ignored."""
    rng = np.random.default_rng(0)
    for i in range(3):
        mask = rng.integers(0, 3, (8, 8)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        write_image(tmp_path / 'images' / f'{i}.png', COLORS[mask])
        mask[:8] = 255
        write_image(tmp_path / 'masks' / f'{i}.png', mask)

    def make(palette=((0, 0, 0), (1, 2, 3), (9, 9, 9)), steps=(), bgr_to_rgb=True):
        metainfo = dict(classes=('a', 'b', 'c'), **(dict(palette=palette) if palette else {}))
        return Config(dict(
            default_scope='mmseg', model=dict(data_preprocessor=dict(bgr_to_rgb=bgr_to_rgb)),
            train_dataloader=dict(dataset=dict(
                type='egmim_mm.SegmentationTiles', data_root=str(tmp_path), img_suffix='.png', metainfo=metainfo,
                pipeline=[*LOAD, *steps, dict(type='PackSegInputs')]))))

    return make


def test_labels_lie_where_their_pixels_lie_in_every_view(config):
    palette = np.array([(0, 0, 0), (1, 2, 3), (9, 9, 9)])
    steps = [dict(type='RandomFlip', prob=0.5), dict(type='egmim_mm.RandomQuarterTurn')]
    views = TrainingViews(config(palette.tolist(), steps))
    titles, rows, names = views.rows(num=2, views=3)
    assert titles == ['tile', 'tile: labels', 'view 1', 'view 1: labels', 'view 2', 'view 2: labels', 'view 3',
                      'view 3: labels']
    assert names == ['0', '2'] and len(rows) == 2
    assert views.legend == dict(a=(0, 0, 0), b=(1, 2, 3), c=(9, 9, 9), ignored=(128, 128, 128))  # black is taken
    expected = {tuple(pixel): tuple(label) for pixel, label in zip(COLORS.tolist(), palette.tolist())}
    for row in rows:
        for image, labels in zip(row[::2], row[1::2]):
            ignored = (labels == 128).all(2)
            assert ignored.sum() == 8 * 64
            pairs = set(zip(map(tuple, image[~ignored].tolist()), map(tuple, labels[~ignored].tolist())))
            assert pairs <= set(expected.items()) and len(pairs) == 3
    assert any(not np.array_equal(rows[0][0], rows[0][i]) for i in (2, 4, 6))  # some view was turned


def test_views_follow_the_seed(config):
    views = TrainingViews(config(steps=[dict(type='egmim_mm.RandomScaledCrop', crop_size=32)]))
    first, again, other = (views.rows(1, 2, seed)[1][0] for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert first[2].shape == (32, 32, 3) and first[0].shape == (64, 64, 3)
    assert not np.array_equal(first[2], first[4]) and not np.array_equal(first[2], other[2])


def test_bands_are_reversed_only_if_the_model_reverses_them(config):
    rgb = TrainingViews(config()).rows(1, 1)[1][0][0]
    bgr = TrainingViews(config(bgr_to_rgb=False)).rows(1, 1)[1][0][0]
    assert {tuple(p) for p in rgb.reshape(-1, 3).tolist()} == set(map(tuple, COLORS.tolist()))
    assert np.array_equal(rgb, bgr[..., ::-1])


def test_classes_without_a_palette_get_different_colours(config):
    views = TrainingViews(config(palette=None))
    assert len(set(views.legend.values())) == 4


def test_unlabelled_tiles_have_no_labels_and_no_legend(config, tmp_path):
    cfg = config()
    cfg.default_scope = 'mmpretrain'
    cfg.train_dataloader.dataset = dict(type='egmim_mm.UnlabeledTiles', data_root=str(tmp_path / 'images'), pipeline=[
        LOAD[0], dict(type='PackInputs')])
    views = TrainingViews(cfg)
    titles, rows, _ = views.rows(3, 1)
    assert titles == ['tile', 'view 1'] and views.legend == {}
    assert all(np.array_equal(row[0], row[1]) for row in rows)


def test_a_wrong_label_value_is_named_before_anything_is_drawn(config, tmp_path, write_image):
    write_image(tmp_path / 'masks' / '2.png', np.full((64, 64), 7, np.uint8))
    with pytest.raises(ValueError, match='2.png.*7'):
        TrainingViews(config()).rows(3, 1)
