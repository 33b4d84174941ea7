"""Who gives how many pixels, and which."""
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from egmim_mm.readout.balanced_sample import balanced_shares, draw_places, tile_generator


def test_classes_are_equal_and_tiles_give_by_what_they_hold():
    shares = balanced_shares([[300, 10, 0], [100, 30, 0]], 80)
    assert shares.tolist() == [[30, 10, 0], [10, 30, 0]]  # two classes occur: 40 each


def test_a_rare_class_gives_all_it_has():
    assert balanced_shares([[1000, 3], [1000, 0]], 100).tolist() == [[25, 3], [25, 0]]


@given(st.lists(st.lists(st.integers(0, 500), min_size=3, max_size=3), min_size=1, max_size=6), st.integers(0, 400))
def test_shares_are_exact(counts, total):
    counts = np.array(counts)
    shares = balanced_shares(counts, total)
    present = max(1, int((counts.sum(0) > 0).sum()))
    assert (shares >= 0).all() and (shares <= counts).all()
    assert np.array_equal(shares.sum(0), np.minimum(counts.sum(0), total // present))


def test_fewer_places_are_the_first_of_more():
    labels = np.random.default_rng(0).integers(0, 3, (20, 20)).astype(np.uint8)
    labels[:5] = 255
    few, many = (draw_places(labels, [wanted, 4, wanted], tile_generator(3, 'a/b')) for wanted in (5, 50))
    assert np.array_equal(many[0][:5], few[0]) and np.array_equal(many[2][:5], few[2])
    for number, places in enumerate(many):
        assert (labels.ravel()[places] == number).all() and len(set(places.tolist())) == len(places)


def test_random_numbers_depend_on_seed_and_name_alone():
    draws = [tile_generator(seed, name).integers(0, 2**31) for seed, name in ((0, 'a'), (0, 'a'), (1, 'a'), (0, 'b'))]
    assert draws[0] == draws[1] and len(set(draws)) == 3
