"""Label budgets: exact, nested, covering, independent of the file order."""
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egmim_mm.datasets.label_budget import (
    budget_count,
    covered_classes,
    covering_tiles,
    order_tiles,
    parse_budget,
    select_tiles,
)


def make_tiles(count=40, classes=5, seed=0):
    """Names and class pixels in which a class is absent from about two thirds of the tiles."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(500, 5000, (count, classes)) * (rng.random((count, classes)) < 0.35)
    return [f'area{i % 4}/part_{i:03d}' for i in range(count)], pixels


@pytest.mark.parametrize('budget, total, expected', [
    (0.01, 344, 3), (0.05, 344, 17), (0.1, 48, 5), (0.001, 48, 1), (1.0, 48, 48), (1, 48, 1), (48, 48, 48),
    ('5%', 48, 2), ('100%', 48, 48), (' 1 % ', 344, 3), ('7', 48, 7), ('0.5', 48, 24), (np.int64(3), 5, 3),
    (np.float32(0.5), 5, 2),
])
def test_budget_count(budget, total, expected):
    assert budget_count(budget, total) == expected


@pytest.mark.parametrize('budget, message', [
    (0, 'labels nothing'), (-2, 'labels nothing'), (49, 'larger than the data, which has 48 tiles'),
    (0.0, 'outside'), (1.5, 'outside'), (-0.1, 'outside'), (float('nan'), 'outside'), ('0%', 'outside'),
    ('150%', 'outside'), ('five', "'five' is not a number"), ('49', 'larger than the data'),
])
def test_bad_budgets_are_named(budget, message):
    with pytest.raises(ValueError, match=message):
        budget_count(budget, 48)


@pytest.mark.parametrize('budget', [True, False, None, [3], np.bool_(True)])
def test_budgets_of_a_wrong_type(budget):
    with pytest.raises(TypeError, match='label budget'):
        budget_count(budget, 48)


@pytest.mark.parametrize('strategy', ['class_covering', 'random', 'source'])
def test_exact_and_nested(strategy):
    names, pixels = make_tiles()
    sources = [name.split('/')[0] for name in names]
    for seed in range(3):
        budgets = [select_tiles(names, pixels, b, seed, strategy, sources) for b in (1, 2, 0.1, '25%', 1.0)]
        assert [len(b) for b in budgets] == [1, 2, 4, 10, 40]
        for small, large in zip(budgets, budgets[1:]):
            assert large[:len(small)] == small
        assert sorted(budgets[-1]) == sorted(names)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 7), st.integers(1, 14), st.randoms())
def test_covers_as_soon_as_possible_in_any_file_order(seed, classes, count, shuffler):
    names, pixels = make_tiles(count, classes, seed)
    order = order_tiles(names, pixels, seed)
    rows = [names.index(name) for name in order]
    held = pixels > 0

    every = held.any(axis=0)
    size = next(k for k in range(count + 1)
                if any((held[list(c)].any(axis=0) == every).all() for c in combinations(range(count), k)))
    assert (held[rows[:size]].any(axis=0) == every).all()

    shuffled = list(range(count))
    shuffler.shuffle(shuffled)
    assert order_tiles([names[i] for i in shuffled], pixels[shuffled], seed) == order


@settings(max_examples=2000, deadline=None, database=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 5), st.sampled_from(['class_covering', 'random']))
def test_any_table_gives_exact_nested_covering_budgets(seed, count, classes, strategy):
    shuffler = random.Random(seed)
    pixels = np.random.default_rng(seed).choice([0, 0, 3, 400, 9000], (count, classes))
    names = [f'tile_{i}' for i in range(count)]
    shuffled = shuffler.sample(range(count), count)
    areas = shuffler.randint(1, 3)
    other_names, other_pixels = [names[i] for i in shuffled], pixels[shuffled]

    small, large = sorted((shuffler.randint(1, len(names)), shuffler.randint(1, len(names))))
    few, many = (select_tiles(names, pixels, count, seed, strategy) for count in (small, large))
    assert (len(set(few)), len(set(many))) == (small, large) and many[:small] == few
    assert select_tiles(other_names, other_pixels, large, seed, strategy) == many
    if strategy == 'class_covering':
        held, needed = covered_classes(pixels), max(1, len(covering_tiles(pixels)))
        rows = [names.index(name) for name in select_tiles(names, pixels, needed, seed)]
        assert (held[rows].any(axis=0) == held.any(axis=0)).all()

    sources = {name: f'area_{i % areas}' for i, name in enumerate(names)}
    total = len(set(sources.values()))
    small, large = sorted((shuffler.randint(1, total), shuffler.randint(1, total)))
    few, many = (select_tiles(names, pixels, count, seed, strategy, list(sources.values()), 'source')
                 for count in (small, large))
    chosen = {sources[name] for name in many}
    assert len(chosen) == large and many[:len(few)] == few and len({sources[name] for name in few}) == small
    assert sorted(many) == sorted(name for name in names if sources[name] in chosen)  # whole sources
    assert many == select_tiles(other_names, other_pixels, large, seed, strategy, [sources[n] for n in other_names],
                                'source')


def test_a_budget_over_sources_covers_the_classes_with_whole_sources():
    names = ['a_0', 'a_1', 'b_0', 'b_1', 'c_0', 'c_1']
    pixels = np.array([[9, 0, 0], [9, 0, 0], [9, 0, 0], [0, 9, 0], [9, 0, 0], [0, 0, 9]])
    for seed in range(5):
        chosen = select_tiles(names, pixels, 2, seed, sources=[name[0] for name in names], unit='source')
        assert sorted(chosen) == ['b_0', 'b_1', 'c_0', 'c_1']


def test_seeds_differ_in_the_first_tile_too():
    names, _ = make_tiles()
    pixels = np.full((len(names), 5), 1000)  # every tile holds every class
    first = {select_tiles(names, pixels, 1, seed)[0] for seed in range(20)}
    assert len(first) > 10
    assert len({tuple(select_tiles(names, pixels, 0.1, seed)) for seed in range(20)}) == 20


def test_the_order_is_the_same_on_every_machine():
    assert order_tiles(['a', 'b', 'c', 'd', 'e'], None, 0, 'random') == ['a', 'e', 'c', 'b', 'd']


def test_a_forced_cover_is_found_where_greedy_fails():
    # Greedy takes the tile with four classes first and then needs three tiles.
    pixels = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 1]]) * 100
    for seed in range(5):
        assert set(select_tiles(['four', 'left', 'right'], pixels, 2, seed)) == {'left', 'right'}


def test_most_classes_come_first():
    pixels = np.array([[100, 0, 0, 0], [0, 100, 100, 100]])
    for seed in range(8):
        assert select_tiles(['one', 'three'], pixels, 1, seed) == ['three']


def test_stray_pixels_do_not_cover_but_small_classes_do():
    pixels = np.array([[99999, 1], [50000, 50000], [100000, 0]])
    assert covering_tiles(pixels) == [1]  # row 0 holds a single stray pixel of class 1
    always_small = np.array([[100000, 0], [99990, 10], [99980, 20], [99970, 30]])
    assert covering_tiles(always_small) == [2]  # the median of 10, 20, 30 px


def test_many_classes_fall_back_to_greedy():
    assert covering_tiles(np.eye(30, dtype=int) * 50) == list(range(30))


def test_tiles_without_a_labelled_pixel_come_last():
    names, pixels = [f't{i}' for i in range(40)], np.zeros((40, 3), int)
    pixels[7:40:5] = [[3, 0, 1], [0, 2, 0], [5, 0, 0], [1, 1, 1], [0, 0, 4], [0, 9, 0], [2, 0, 0]]  # a few points
    for seed in range(5):
        chosen = select_tiles(names, pixels, 40, seed)
        assert chosen[0] == 't22' and set(chosen[:7]) == {f't{i}' for i in range(7, 40, 5)}


def test_absent_classes_and_empty_tiles_do_no_harm():
    assert len(select_tiles(['a', 'b'], np.zeros((2, 3), int), 1)) == 1


def test_source_takes_whole_sources_one_after_the_other():
    names, _ = make_tiles(12)
    sources = [name.split('/')[0] for name in names]
    chosen = select_tiles(names, None, 6, 1, 'source', sources)
    assert len({name.split('/')[0] for name in chosen[:3]}) == 1
    assert len({name.split('/')[0] for name in chosen[3:]}) == 1


@pytest.mark.parametrize('change, message', [
    (dict(names=['a', 'a', 'b']), "'a' occurs more than once"),
    (dict(strategy='best'), "unknown strategy 'best'"),
    (dict(class_pixels=np.ones((2, 3))), r'shape \(2, 3\), expected \(3, classes\)'),
    (dict(strategy='source'), 'needs the source of every tile'),
    (dict(strategy='source', sources=['x', None, 'y']), 'needs the source of every tile'),
    (dict(unit='pixel'), "unknown unit 'pixel'"),
    (dict(unit='source'), "unit 'source' needs the source of every tile"),
    (dict(unit='source', strategy='source', sources=['x', 'x', 'y']), 'needs the strategy class_covering or random'),
    (dict(unit='source', budget=3, sources=['x', 'x', 'y']), 'larger than the data, which has 2 sources'),
])
def test_bad_input(change, message):
    arguments = dict(names=['a', 'b', 'c'], class_pixels=np.ones((3, 3)), budget=1) | change
    with pytest.raises(ValueError, match=message):
        select_tiles(**arguments)


def test_percentages_outside_of_the_data_are_named_as_they_were_typed():
    assert (parse_budget('2'), parse_budget('2.5%'), parse_budget('100 %')) == (2, 0.025, 1.0)
    for text in ('0%', '200%', '-1%', 'nan%'):
        with pytest.raises(ValueError, match=rf'^label budget {text} is outside \(0 %, 100 %\]$'):
            parse_budget(text)
