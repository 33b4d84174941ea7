"""The conversion itself: one job for each source image, in parallel, resumable, tiles whole or not at all."""
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.progress import track

from egmim_mm.processes import end_silently_when_stopped, starting_workers

from .archives import ConversionError, archive_hashes, fingerprint
from .image_tiles import convert_source, read_source
from .manifest import append_result, claim, finish, holds_tiles_of
from .sources import Recipe, Source
from .tiling import check_grid

__all__ = ['convert']


def convert(sources: Sequence[Source], recipe: Recipe, out: str | Path, dataset: Mapping[str, Any], workers: int = 1,
            overwrite: bool = False, code: Any = None) -> dict:
    """Write ``out/img_dir/SPLIT/*``, ``out/ann_dir/SPLIT/*`` and ``out/dataset.json``.

    Args:
        sources: Images with masks; names are unique in a split.
        recipe: How they become tiles.
        out: Folder of the data set. A run that was stopped goes on when it is started again.
        dataset: For the manifest: name, classes, mode, ...
        workers: Processes.
        overwrite: Replace what was converted with other settings.
        code: State of the code, for the manifest.

    Returns:
        The manifest.

    Raises:
        ConversionError: A source cannot be used, or ``out`` cannot be written; finished tiles stay.
    """
    if workers < 1:
        raise ConversionError(f'--workers {workers} must be at least 1')
    check_grid(recipe.crop, recipe.stride)
    _check_unique(sources)
    members = [member for source in sources for member in (source.image, *source.masks.values())]
    table = recipe.table
    settings = dict(dataset, crop=recipe.crop, stride=recipe.stride, suffix=recipe.suffix, bands=recipe.bands,
                    scale=recipe.scale, max_stray=table.max_stray, tolerance=table.tolerance or None,
                    nodata=recipe.nodata, min_valid=recipe.min_valid, sources=fingerprint(members))
    try:
        if not holds_tiles_of(out, settings, overwrite):
            read_source(sources[0], recipe)  # options that fit no file leave the folder free
        results = claim(out, settings, overwrite)
        todo = [source for source in sources if f'{source.split}/{source.name}' not in results]
        for result in track(_run(todo, recipe, Path(out), workers), 'converting', total=len(todo)):
            append_result(out, result)
            results[f"{result['split']}/{result['name']}"] = result
    except OSError as error:
        raise ConversionError(f'{out} cannot be written ({error.strerror or error}); finished tiles stay. Make room or '
                              'choose a folder you may write to, then run the same command again') from error
    ordered = [results[f'{source.split}/{source.name}'] for source in sources]
    if not any(result['tiles'] or result.get('bare') for result in ordered):
        raise ConversionError(f'no tile of the {len(sources)} images holds data, {sources[0].image} the first: all are '
                              'no data by value or mask; if they are not, say so with --nodata')
    if not any(result['tiles'] for result in ordered):
        raise ConversionError(f'no tile of the {len(sources)} images holds a label: all labels lie on pixels without '
                              'data, or are smaller than a pixel')
    archives = archive_hashes(sorted({member.archive for member in members}), partial(track, description='hashing'))
    return finish(out, dict(code=code, sources=archives, splits=_split_summaries(ordered, dataset['classes'])))


def _check_unique(sources: Sequence[Source]) -> None:
    seen: dict[tuple[str, str], Source] = {}
    for source in sources:
        first = seen.setdefault((source.split, source.name), source)
        if first is not source:
            raise ConversionError(f"two images give tiles called '{source.name}' in {source.split}: {first.image} and "
                                  f'{source.image}')


def _run(sources: Sequence[Source], recipe: Recipe, out: Path, workers: int) -> Iterator[dict]:
    """Results in the order in which they are ready. Processes start before the first one is asked for."""
    job = partial(convert_source, recipe=recipe, out=out)
    if workers == 1 or len(sources) < 2:
        return map(job, sources)
    # fork: a new interpreter would import the whole stack first. Elsewhere than on Linux it is not safe.
    context = get_context('fork' if sys.platform == 'linux' else 'spawn')
    pool = ProcessPoolExecutor(min(workers, len(sources)), context, end_silently_when_stopped)
    with starting_workers():
        jobs = [pool.submit(job, source) for source in sources]
    return _results(pool, jobs)


def _results(pool: ProcessPoolExecutor, jobs: Sequence[Future]) -> Iterator[dict]:
    try:
        for done in as_completed(jobs):
            try:
                yield done.result()
            except ConversionError as error:
                raise ConversionError(str(error)) from error  # raised here: its traceback ends in this package
    finally:
        pool.shutdown(cancel_futures=True)


def _split_summaries(results: Sequence[dict], classes: Sequence[str]) -> dict[str, dict]:
    """For each split: images, tiles, tiles left out, pixels of each class in each mask folder, what is to be known."""
    summaries: dict[str, dict] = {}

    def summary_of(name: str) -> dict:
        numbers = dict.fromkeys(('images', 'tiles', 'empty', 'blank', 'near', 'overlapped'), 0)
        return summaries.setdefault(name, dict(numbers, class_pixels={}, stray={}, notes={}, sha256={}))

    for result in results:
        split = summary_of(result['split'])
        split['images'] += 1
        split['tiles'] += len(result['tiles'])
        if result.get('bare'):
            bare = summary_of('unlabeled')
            bare['images'] += 1
            bare['tiles'] += len(result['bare'])
        for key in ('empty', 'blank', 'near', 'overlapped'):
            split[key] += result.get(key, 0)  # journals of older versions have not all
        split['sha256'].update(result['sha256'])
        for note in result['notes']:
            split['notes'].setdefault(note, []).append(result['name'])
        for value, count in result['stray'].items():
            split['stray'][value] = split['stray'].get(value, 0) + count
        for folder, counts in result['class_pixels'].items():
            total = split['class_pixels'].setdefault(folder, dict.fromkeys(classes, 0))
            for name, count in zip(classes, counts):
                total[name] += count
    return summaries
