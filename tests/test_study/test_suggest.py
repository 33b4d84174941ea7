"""Which tiles to label: different and typical ones, by colours, edges or features."""
import numpy as np
import pytest

from egmim_mm.study.suggest_report import suggest
from egmim_mm.study.suggest_tiles import METHODS, WEIGHTED_METHODS, choose_tiles, image_statistics, read_statistics


@pytest.fixture
def clusters():
    """Three groups of 30, 20 and 10 points, the first point of each in its middle, and one outlier at the end."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [30, 0], [0, 30]])
    groups = [centre + np.vstack([[0, 0], rng.uniform(-3, 3, (size - 1, 2))])
              for centre, size in zip(centres, (30, 20, 10))]
    return np.vstack([*groups, [[60, 60]]])


def group(index):
    return np.searchsorted([30, 50, 60], index, side='right')


def test_typical_tiles_come_from_every_cluster_the_largest_first(clusters):
    chosen = choose_tiles(clusters[:60], 3, 'typical_cluster')
    assert [group(i) for i in chosen] == [0, 1, 2]
    centres = clusters[[0, 30, 50]]
    assert np.abs(clusters[chosen] - centres).max() < 1.5  # typical: near the middle of a group that is 6 wide


def test_k_centre_takes_the_farthest_tile_each_time(clusters):
    chosen = choose_tiles(clusters, 4, 'k_centre')
    scaled = (clusters - clusters.mean(axis=0)) / clusters.std(axis=0)
    distances = np.linalg.norm(scaled[:, None] - scaled[None], axis=-1)
    assert chosen[0] == distances.mean(axis=1).argmin()
    for number in range(1, 4):
        nearest = distances[chosen[:number]].min(axis=0)
        assert nearest[chosen[number]] == pytest.approx(nearest.max())
    assert 60 in chosen


@pytest.mark.parametrize('method', METHODS)
def test_choices_are_exact_reproducible_and_without_repeats(clusters, method):
    for count in (1, 7, len(clusters)):
        chosen = choose_tiles(clusters, count, method, seed=3)
        assert len(set(chosen)) == count and chosen == choose_tiles(clusters, count, method, seed=3)
    assert len(set(choose_tiles(np.ones((6, 2)), 4, method))) == 4  # all alike
    for count in (0, 62):
        with pytest.raises(ValueError, match='cannot be chosen from 61'):
            choose_tiles(clusters, count, method)
    with pytest.raises(ValueError, match="unknown method 'best'"):
        choose_tiles(clusters, 1, 'best')


def test_clusters_with_a_label_are_left_out(clusters):
    chosen = choose_tiles(clusters[:60], 1, 'typical_cluster', labelled=[0, 55])
    assert [group(i) for i in chosen] == [1]  # three clusters, two of which have a labelled tile
    weights = np.where(np.arange(60) == 41, 10.0, 1.0)
    assert choose_tiles(clusters[:60], 1, 'typical_cluster', labelled=[0, 55], weights=weights) == [41]


def test_distances_are_multiplied_with_weights(clusters):
    scaled = (clusters - clusters.mean(axis=0)) / clusters.std(axis=0)
    weights = np.random.default_rng(1).uniform(0.1, 1, len(clusters))
    held = [3, 60]
    chosen = choose_tiles(clusters, 3, 'k_centre', labelled=held, weights=weights)
    for number, tile in enumerate(chosen):
        nearest = np.linalg.norm(scaled[:, None] - scaled[[*held, *chosen[:number]]][None], axis=-1).min(axis=1)
        assert tile == (nearest * weights).argmax()
    assert choose_tiles(clusters, 3, 'uncertainty', labelled=[int(weights.argmax())], weights=weights) == list(
        np.argsort(-weights)[1:4])


@pytest.mark.parametrize('method', WEIGHTED_METHODS)
def test_labelled_tiles_are_never_picked(clusters, method):
    held = list(range(0, 61, 2))
    chosen = choose_tiles(clusters, 30, method, labelled=held, weights=np.zeros(61))
    assert sorted(chosen) == list(range(1, 61, 2))
    with pytest.raises(ValueError, match='31 tiles cannot be chosen from 30: 31 of the 61 are labelled'):
        choose_tiles(clusters, 31, method, labelled=held, weights=np.ones(61))
    with pytest.raises(ValueError, match="unknown method 'uncertainty'"):
        choose_tiles(clusters, 1, 'uncertainty')


def test_statistics_tell_colour_and_structure():
    flat = np.full((64, 64, 3), (200, 30, 30), np.uint8)
    rng = np.random.default_rng(0)
    rough = np.clip(flat + rng.normal(0, 25, (8, 8, 1)).repeat(8, 0).repeat(8, 1), 0, 255).astype(np.uint8)
    values = image_statistics(flat)
    assert values.shape == (33, ) and values[:3] == pytest.approx([200 / 255, 30 / 255, 30 / 255])
    assert values[3:6] == pytest.approx(0) and values[-3:] == pytest.approx(0, abs=1e-6)
    assert image_statistics(rough)[-3] > 0.05  # edges


def test_suggest_writes_list_and_sheet(tmp_path, write_image):
    rng = np.random.default_rng(0)
    for i in range(12):  # four tiles of each of three colours
        color = np.array([(200, 40, 40), (40, 160, 40), (40, 40, 200)][i % 3])
        write_image(tmp_path / f'tiles/{i:02d}.png',
                    np.clip(color + rng.normal(0, 6, (40, 50, 3)), 0, 255).astype(np.uint8))
    names = suggest(str(tmp_path / 'tiles'), 3, tmp_path / 'out')
    assert {int(name) % 3 for name in names} == {0, 1, 2}
    assert (tmp_path / 'out/suggested.txt').read_text().split() == names
    assert (tmp_path / 'out/suggested.jpg').stat().st_size > 1000
    assert suggest(str(tmp_path / 'tiles'), 1, tmp_path / 'out', include=['05']) == ['05']
    with pytest.raises(FileNotFoundError, match='no images in'):
        suggest(str(tmp_path / 'tiles'), 1, tmp_path / 'out', include=['x*'])
    with pytest.raises(ValueError, match='belong together'):
        suggest(str(tmp_path / 'tiles'), 1, tmp_path / 'out', backbone='last.pth')
    (tmp_path / 'tiles/broken.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match='broken.png: cannot be read as an image'):
        suggest(str(tmp_path / 'tiles'), 1, tmp_path / 'out')


def test_suggested_tiles_of_dubai_cover_the_classes(shared_data):
    from egmim_mm.datasets.label_budget import covered_classes
    from egmim_mm.storage.mask_values import MaskValues, read_mask
    paths = sorted((shared_data / 'dubai').glob('tile_[1357]/images/image_part_00[1-4].jpg'))
    table = MaskValues('color', ('#3C1098', '#8429F6', '#6EC1E4', '#FEDD3A', '#E2A929'), ('#9B9B9B', '#000000'))
    chosen = choose_tiles(read_statistics(paths), 5)
    masks = [str(paths[i]).replace('/images/', '/masks/').replace('.jpg', '.png') for i in chosen]
    pixels = np.stack([np.bincount(read_mask(m, table).ravel(), minlength=256)[:5] for m in masks])
    assert covered_classes(pixels).any(axis=0).sum() >= 4
