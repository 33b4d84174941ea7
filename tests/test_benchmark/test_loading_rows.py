"""Timings of boundary metrics and of waiting for data, at toy size. Whether it is fast is no test."""
import json

import numpy as np
import pytest

from egmim_mm.benchmark import boundary, data_wait
from egmim_mm.benchmark.rows import paired_row, read_rows
from egmim_mm.evaluation.boundary import boundary_counts


def test_the_baseline_counts_the_same_boundaries():
    """On maps with ignored pixels, too."""
    prediction, truth = boundary.label_pairs(96, 1)[0]
    truth[10:14] = 255
    counts = boundary.class_by_class(prediction, truth, boundary.CLASSES, (3, 5, 2), 3)
    assert np.array_equal(counts, boundary_counts(prediction, truth, boundary.CLASSES, (3, 5, 2), 3))
    assert 0.02 < (prediction != truth).mean() < 0.4


def test_rows_of_boundaries():
    alone, together = boundary.boundary_rows(128, 2, 2)
    assert alone.name == together.name == 'boundary metrics of a 128-px image' and alone.better == 'less'
    assert together.variant == 'all classes at once, 2 threads' and alone.unit == 'ms'
    for row in (alone, together):
        assert 0 < row.low <= row.ratio <= row.high and row.ours > 0 and row.baseline > 0


def test_two_ways_that_differ_are_an_error(monkeypatch):
    monkeypatch.setattr(boundary, 'class_by_class', lambda *args: np.zeros((10, 7), int))
    with pytest.raises(RuntimeError, match='two ways to count boundaries differ'):
        boundary.boundary_rows(64)


def test_rows_of_waiting():
    pretrain, finetune = data_wait.wait_rows(1, toy=True)
    assert pretrain.name == 'waiting for data, pretrain, 64-px crops of 128-px tiles, batch 2'
    assert (pretrain.against, finetune.against) == ('MMPretrain', 'MMSegmentation')
    assert all(0 < row.ours < 100 and 0 < row.baseline < 100 and row.unit == '%' for row in (pretrain, finetune))


@pytest.mark.parametrize('timing, name', [(boundary, 'boundary_rows'), (data_wait, 'wait_rows')])
def test_a_child_process_gives_rows_of_json(monkeypatch, timing, name):
    rows = [paired_row('name', 'ours', 'stock', 's', [1.0], [2.0])]
    asked = []
    monkeypatch.setattr(timing, name, lambda *args, **options: asked.append([*args, *options.values()]) or rows)
    document = json.loads(json.dumps(timing.measure(dict(threads=3, workers=3))))
    assert read_rows(document) == rows and asked == [[3]]
