"""Streams: the same for any number of ranks, and resumable at any position."""
import pickle
from itertools import islice

import numpy as np
import pytest

from egmim_mm.datasets import LabelBudgetSampler, SampleIndex, StreamSampler, samplers
from egmim_mm.datasets.label_budget import select_tiles


class Tiles:
    """What LabelBudgetSampler asks of a data set."""

    metainfo = dict(classes=('road', 'roof', 'water'))
    sources = None

    def __init__(self, count=20):
        self.tile_names = [f't{i}' for i in range(count)]
        self.pixels = np.tile([100, 50, 0], (count, 1))

    def __len__(self):
        return len(self.tile_names)

    def class_pixels(self):
        return self.pixels


def take(sampler, count):
    return [(int(i), i.seed) for i in islice(sampler, count)]


def on_rank(sampler, rank, world_size):
    """The sampler as rank ``rank`` of ``world_size`` builds it."""
    sampler.rank, sampler.world_size = rank, world_size
    return sampler


def test_index_is_an_int_with_a_seed_that_survives_pickling():
    index = pickle.loads(pickle.dumps(SampleIndex(7, 123)))
    assert (index, index.seed, [10, 20, 30, 40, 50, 60, 70, 80][index]) == (7, 123, 80)


def test_every_epoch_is_a_different_permutation():
    sampler = StreamSampler(range(10), seed=3)
    stream = [i for i, _ in take(sampler, 30)]
    epochs = [stream[i:i + 10] for i in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert len(sampler) == 10


def test_the_stream_depends_on_the_seed_alone():
    assert take(StreamSampler(range(10), seed=3), 25) == take(StreamSampler(range(10), seed=3), 25)
    assert take(StreamSampler(range(10), seed=3), 25) != take(StreamSampler(range(10), seed=4), 25)
    seeds = [seed for _, seed in take(StreamSampler(range(10), seed=3), 1000)]
    assert len(set(seeds)) == 1000 and min(seeds) >= 0 and max(seeds) < 2**32


def test_unshuffled():
    assert [i for i, _ in take(StreamSampler(range(3), seed=0, shuffle=False), 7)] == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize('make', [
    lambda: StreamSampler(range(7), seed=5),
    lambda: LabelBudgetSampler(Tiles(), budget=3, seed=1, order_seed=5),
])
def test_two_ranks_together_see_the_stream_of_one(make):
    whole = take(make(), 40)
    ranks = [take(on_rank(make(), rank, 2), 20) for rank in range(2)]
    assert [pair for step in zip(*ranks) for pair in step] == whole


@pytest.mark.parametrize('rank, world_size', [(0, 1), (1, 3)])
def test_skip_is_absolute_and_equals_consuming(rank, world_size):
    whole = take(on_rank(StreamSampler(range(7), seed=5), rank, world_size), 40)
    resumed = on_rank(StreamSampler(range(7), seed=5), rank, world_size)
    resumed.skip(13)
    assert take(resumed, 20) == whole[13:33]
    resumed.skip(2)
    assert take(resumed, 5) == whole[2:7]
    with pytest.raises(ValueError, match='must not be negative'):
        resumed.skip(-1)


def test_rank_and_world_size_come_from_the_process_group(monkeypatch):
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (1, 3))
    sampler = StreamSampler(range(7), seed=5)
    assert (sampler.rank, sampler.world_size) == (1, 3)


def test_empty_data_set():
    with pytest.raises(ValueError, match='empty'):
        StreamSampler([], seed=0)


def test_label_budget_draws_the_chosen_tiles_only():
    tiles = Tiles()
    sampler = LabelBudgetSampler(tiles, budget='10%', seed=4, order_seed=0)
    assert sampler.tile_names == select_tiles(tiles.tile_names, tiles.pixels, 0.1, 4)
    drawn = {tiles.tile_names[i] for i, _ in take(sampler, 20)}
    assert drawn == set(sampler.tile_names) and len(sampler) == 2


def test_the_budget_seed_and_the_order_seed_are_independent():
    def make(seed, order):
        return LabelBudgetSampler(Tiles(), budget=5, seed=seed, order_seed=order)

    assert make(0, 1).tile_names == make(0, 2).tile_names
    assert take(make(0, 1), 20) != take(make(0, 2), 20)
    assert set(make(0, 1).tile_names) != set(make(1, 1).tile_names)


def test_the_order_follows_the_seed_of_the_run():
    def run(seed):
        np.random.seed(seed)  # what the Runner does before it builds the loader
        return take(LabelBudgetSampler(Tiles(), budget=5, seed=0), 20)

    assert run(1) == run(1) != run(2)


def test_the_choice_is_logged_in_one_line(monkeypatch):
    lines = []
    monkeypatch.setattr(samplers, 'print_log', lambda text, **_: lines.append(text))
    LabelBudgetSampler(Tiles(), budget=1, seed=0, order_seed=0)
    name = select_tiles(Tiles().tile_names, Tiles().pixels, 1, 0)[0]
    assert lines == [f'Label budget 1 (seed 0, class_covering): 1 of 20 tiles labelled: {name}; '
                     'classes covered: road 66.7%, roof 33.3%; not covered: water']


@pytest.mark.parametrize('budget', [0, 21, 0.0, '0%'])
def test_impossible_budgets(budget):
    with pytest.raises(ValueError, match='label budget'):
        LabelBudgetSampler(Tiles(), budget=budget)


def test_wrong_data_set_and_strategy():
    with pytest.raises(TypeError, match='tile names'):
        LabelBudgetSampler([1, 2, 3], budget=1)
    with pytest.raises(ValueError, match="unknown strategy 'lucky'"):
        LabelBudgetSampler(Tiles(), budget=1, strategy='lucky')


def test_every_rank_chooses_the_same_tiles_without_a_collective(monkeypatch):
    chosen = []
    for rank in range(2):  # with no process group at all: a collective would fail
        monkeypatch.setattr(samplers, 'get_dist_info', lambda rank=rank: (rank, 2))
        chosen.append(LabelBudgetSampler(Tiles(), budget=5, seed=3, order_seed=0).tile_names)
    assert chosen[0] == chosen[1] and len(chosen[0]) == 5
    assert not hasattr(samplers, 'broadcast_object_list')


def test_a_budget_over_sources():
    dataset = Tiles()
    dataset.sources = [f'area_{i // 5}' for i in range(20)]
    sampler = LabelBudgetSampler(dataset, budget=2, unit='source', order_seed=0)
    assert len(sampler.tile_names) == 10
    assert len({dataset.sources[dataset.tile_names.index(name)] for name in sampler.tile_names}) == 2
    with pytest.raises(ValueError, match="unknown unit 'pixel'"):
        LabelBudgetSampler(dataset, budget=2, unit='pixel')
