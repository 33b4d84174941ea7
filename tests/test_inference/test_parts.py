"""A raster divided over processes: the parts are what one process would have made, and nothing of them is left."""
import hashlib

import numpy as np
import pytest
import torch
from test_blending import scores_of_windows

from egmim_mm.inference import predict_raster
from egmim_mm.inference.blending import Grid, blended_strips
from egmim_mm.inference.folders import Job, share
from egmim_mm.inference.predict_raster import join_parts, predict_part


@pytest.mark.parametrize('overlap', [0, 0.25, 0.5, 0.8])
def test_strips_of_some_rows_are_those_of_all(noise, overlap):
    image = noise(300, 100)
    grid = Grid(*image.shape[:2], 64, overlap)

    def strips(rows=None):
        return list(blended_strips(scores_of_windows, 3, lambda top, height: (
            image[top:top + height], np.ones((height, 100), bool)), grid, 3, True, rows=rows))

    whole, rows = strips(), len(grid.tops)
    for start, stop in ((0, 2), (2, 3), (rows // 2, rows), (rows - 1, rows)):
        part = strips(range(start, stop))
        assert [strip.top for strip in part] == grid.tops[start:stop]
        for found, expected in zip(part, whole[start:stop]):
            np.testing.assert_array_equal(found.classes, expected.classes)
            assert torch.equal(found.probabilities, expected.probabilities)


def test_rows_that_reach_into_a_row():
    assert [Grid(300, 64, 64, overlap).lead(3) for overlap in (0, 0.25, 0.5, 0.6, 0.8)] == [1, 1, 2, 2, 3]
    assert [Grid(256, 64, 64, 0).lead(row) for row in range(4)] == [0, 0, 0, 0]
    assert [Grid(256, 64, 64, 0.75).lead(row) for row in range(5)] == [0, 1, 2, 3, 3]


def job(name, height, width, overlap=0.25):
    return Job(name, f'maps/{name}', Grid(height, width, 64, overlap))


@pytest.mark.parametrize('overlap', [0, 0.25, 0.6])
@pytest.mark.parametrize('processes', [1, 2, 3, 5])
def test_all_rows_are_shared_out_once(overlap, processes):
    jobs = [job('large', 2000, 300, overlap), job('small', 100, 100, overlap), Job('broken', 'maps/broken')]
    shares = share(jobs, processes)
    assert len(shares) == processes
    rows = {each.source: [] for each in jobs}
    for part in (part for own in shares for part in own):
        rows[part.job.source] += [None] if part.rows is None else [*part.rows]
    assert rows['broken'] == [None]
    for each in jobs[:2]:
        assert sorted(rows[each.source]) == list(range(len(each.grid.tops))) or rows[each.source] == [None]
    assert (rows['large'] == [None]) == (processes == 1)
    loads = [sum(part.windows for part in own) for own in shares]
    assert max(loads) < sum(each.windows for each in jobs) / processes * (1 if processes == 1 else 1.4) + 1


def test_rasters_are_whole_where_they_can_be():
    jobs = [job(str(i), 400, 400) for i in range(4)]
    assert [part.rows for own in share(jobs, 2) for part in own] == [None] * 4
    assert [[part.rows for part in own] for own in share([job('a', 112, 64)], 2)] == [[None], []]  # no gain
    assert [[part.rows for part in own] for own in share([job('a', 160, 64)], 2)] == [[range(0, 2)], [range(2, 3)]]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize('overlap, divided', [(0.25, [(0, 2), (2, 5), (5, 6)]), (0.7, [(0, 7), (7, 14)])])
def test_joined_parts_are_the_same_bytes(segmenter, noise, write_raster, tmp_path, overlap, divided):
    image = noise(300, 200).clip(1)
    image[130:, :90] = 0
    source = write_raster(tmp_path / 'in.tif', image, nodata=0)
    outputs = dict(target='map.tif', probabilities='all.tif', confidence='sure.tif')
    one, two = ({kind: tmp_path / folder / name for kind, name in outputs.items()} for folder in ('one', 'two'))
    options = dict(window=64, overlap=overlap)
    predict_raster(segmenter, source, batch=3, settings='made so', **one, **options)
    ranges = [range(*rows) for rows in divided]
    assert ranges[-1].stop == len(Grid(300, 200, 64, overlap).tops)
    files = [file for rows in ranges for file in predict_part(
        segmenter, source, rows=rows, run='r', batch=3, **two, **options)]
    assert sorted((tmp_path / 'two').iterdir()) == sorted(files) and len(files) == 3 * len(ranges)
    join_parts(segmenter, source, parts=ranges, run='r', settings='made so', **two, **options)
    for kind in outputs:
        assert digest(one[kind]) == digest(two[kind]), kind


def test_a_part_that_fails_or_is_cut_leaves_no_map(segmenter, noise, write_raster, tmp_path):
    source, target = write_raster(tmp_path / 'in.tif', noise(300, 100)), tmp_path / 'maps/out.tif'
    segmenter.probabilities = lambda images: 1 / 0
    with pytest.raises(ZeroDivisionError):
        predict_part(segmenter, source, target, range(2, 4), 'r', window=64)
    assert not list(target.parent.iterdir())
    del segmenter.probabilities
    files = [predict_part(segmenter, source, target, rows, 'r', window=64)[0] for rows in (range(3), range(3, 6))]
    files[1].write_bytes(files[1].read_bytes()[:-30])
    with pytest.raises((OSError, EOFError)):
        join_parts(segmenter, source, target, [range(3), range(3, 6)], 'r', window=64)
    assert sorted(target.parent.iterdir()) == sorted(files)
