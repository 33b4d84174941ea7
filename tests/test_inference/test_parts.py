"""A raster divided over processes: the parts are what one process would have made, and nothing of them is left."""
import hashlib
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.errors import RasterioError
from test_blending import scores_of_windows

from egmim_mm.inference import map_rasters, predict_raster
from egmim_mm.inference.blending import Grid, blended_strips
from egmim_mm.inference.folders import share
from egmim_mm.inference.map_job import MapJob, Part
from egmim_mm.inference.predict_raster import join_parts, predict_part
from egmim_mm.storage.tile_reading import TileReadError


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
        for strip, expected in zip(part, whole[start:stop]):
            np.testing.assert_array_equal(strip.classes, expected.classes)
            assert torch.equal(strip.probabilities, expected.probabilities)


def test_rows_that_reach_into_a_row():
    assert [Grid(300, 64, 64, overlap).lead(3) for overlap in (0, 0.25, 0.5, 0.6, 0.8)] == [1, 1, 2, 2, 3]
    assert [Grid(256, 64, 64, 0).lead(row) for row in range(4)] == [0, 0, 0, 0]
    assert [Grid(256, 64, 64, 0.75).lead(row) for row in range(5)] == [0, 1, 2, 3, 3]


def job(name, height, width, overlap=0.25):
    made = MapJob(Path(name), Path('maps', name), 3, 64, overlap)
    made.grid = Grid(height, width, 64, overlap)
    return made


@pytest.mark.parametrize('overlap', [0, 0.25, 0.6])
@pytest.mark.parametrize('processes', [1, 2, 3, 5])
def test_all_rows_are_shared_out_once(overlap, processes):
    jobs = [job('large', 2000, 300, overlap), job('small', 100, 100, overlap),
            MapJob(Path('broken'), Path('maps/broken'), 3, 64, overlap)]
    shares = share(jobs, processes)
    assert len(shares) == processes
    parts = {each: [part for own in shares for part in own if part.job is each] for each in jobs}
    assert [(part.rows, part.windows) for part in parts[jobs[2]]] == [(range(0), 0)]
    for each in jobs[:2]:
        assert sorted(row for part in parts[each] for row in part.rows) == list(range(len(each.grid.tops)))
    assert parts[jobs[0]][0].is_whole == (processes == 1)
    loads = [sum(part.windows for part in own) for own in shares]
    assert max(loads) < sum(each.windows for each in jobs) / processes * (1 if processes == 1 else 1.4) + 1


def test_rasters_are_whole_where_they_can_be():
    jobs = [job(str(i), 400, 400) for i in range(4)]
    assert all(part.is_whole for own in share(jobs, 2) for part in own)
    assert [len(own) for own in share([job('a', 112, 64)], 2)] == [1, 0]  # no gain
    assert [[part.rows for part in own] for own in share([job('a', 160, 64)], 2)] == [[range(0, 2)], [range(2, 3)]]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def part_of(job, rows):
    job.open()
    return Part(job, rows, len(rows) * len(job.grid.lefts))


@pytest.mark.parametrize('target', ['map.tif', 'map.png'])
@pytest.mark.parametrize('overlap, divided', [(0.25, [(0, 2), (2, 5), (5, 6)]), (0.7, [(0, 7), (7, 14)])])
def test_joined_parts_are_the_same_bytes(segmenter, noise, write_raster, tmp_path, overlap, divided, target):
    image = noise(300, 200).clip(1)
    image[130:, :90] = 0
    source = write_raster(tmp_path / 'in.tif', image, nodata=0)
    one, two = (tmp_path / folder for folder in ('one', 'two'))
    predict_raster(segmenter, source, one / target, batch=3, settings='made so', window=64, overlap=overlap,
                   probabilities=one / 'all.tif', confidence=one / 'sure.tif')
    with closing(MapJob(source, two / target, 3, 64, overlap, settings='made so',
                        extras=dict(probabilities=two / 'all.tif', confidence=two / 'sure.tif'))) as job:
        parts = [part_of(job, range(*rows)) for rows in divided]
        for part in parts:
            predict_part(segmenter, part, 3, 'r')
        files = [file for part in parts for file in part.rasters('r').values()]
        assert parts[-1].rows.stop == len(job.rows)
        assert sorted(two.iterdir()) == sorted(files) and len(files) == 3 * len(parts)
        job.close()
        join_parts(segmenter, parts, 'r')
    for name in (target, 'all.tif', 'sure.tif'):
        assert digest(one / name) == digest(two / name), name


def test_a_part_that_fails_or_is_cut_leaves_no_map(segmenter, noise, write_raster, tmp_path):
    source, target = write_raster(tmp_path / 'in.tif', noise(300, 100)), tmp_path / 'maps/out.tif'
    with closing(MapJob(source, target, 3, 64, 0.25)) as job:
        segmenter.probabilities = lambda images: 1 / 0
        with pytest.raises(ZeroDivisionError):
            predict_part(segmenter, part_of(job, range(2, 4)), 8, 'r')
        assert not list(target.parent.iterdir())
        del segmenter.probabilities
        halves = [part_of(job, rows) for rows in (range(3), range(3, 6))]
        files = [part.rasters('r')['classes'] for part in halves]
        for part in halves:
            predict_part(segmenter, part, 8, 'r')
        files[1].write_bytes(files[1].read_bytes()[:-300])
        with pytest.raises(RasterioError):
            join_parts(segmenter, halves, 'r')
        files[1].unlink()
        with pytest.raises(TileReadError):
            join_parts(segmenter, halves, 'r')
    assert list(target.parent.iterdir()) == files[:1]


def test_a_raster_is_opened_once(segmenter, noise, write_raster, write_image, tmp_path, monkeypatch):
    """From the plan to the polygons: a whole one, one in parts, and one that cannot be used."""
    write_raster(tmp_path / 'in/a.tif', noise(300, 100))
    write_raster(tmp_path / 'in/bands.tif', noise(40, 40, 5))
    (tmp_path / 'in/broken.tif').write_bytes(b'II*')
    write_image(tmp_path / 'in/c.png', noise(80, 80))
    opened, rasterio_open = Counter(), rasterio.open
    monkeypatch.setattr(rasterio, 'open', lambda path, *args, **options: opened.update([Path(path).name]) or
                        rasterio_open(path, *args, **options))
    report = map_rasters(segmenter, [tmp_path / 'in'], tmp_path / 'out', extras=['polygons'])
    assert (report.made, report.kept, len(report.failed)) == (2, 0, 2)
    names = ['a.tif', 'bands.tif', 'broken.tif', 'c.png']
    made = Counter({'a.tif': 1, 'c.png': 1})  # the maps of these names are read for their polygons
    assert [opened[name] - made[name] for name in names] == [1, 1, 1, 1]
    opened.clear()
    with closing(MapJob(tmp_path / 'in/a.tif', tmp_path / 'parts/a.tif', 3, 64, 0.25)) as job:
        parts = [part_of(job, rows) for rows in (range(2), range(2, 6))]
        for part in parts:
            predict_part(segmenter, part, 8, 'r')
        join_parts(segmenter, parts, 'r')
    assert opened['a.tif'] == 1 and [opened[part.rasters('r')['classes'].name] for part in parts] == [1, 1]
