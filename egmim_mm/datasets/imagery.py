"""Unlabelled imagery for pretraining."""
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from egmim_mm.registry import DATASETS
from egmim_mm.storage.file_index import indexed_images, missing_files
from egmim_mm.storage.image_files import SUFFIXES, find_images, matches_any
from egmim_mm.storage.packed_names import FilePaths, ImageTable, PackedNames
from egmim_mm.storage.rasters import raster_suffixes
from egmim_mm.storage.tar_member import TarMember
from egmim_mm.storage.tar_shards import find_shards, list_lines, shard_images
from egmim_mm.storage.tile_reading import TileReadError, image_size

from .position_seed import SampleIndex, SeededByPosition

__all__ = ['UnlabeledTiles']


@DATASETS.register_module()
class UnlabeledTiles(SeededByPosition, BaseDataset):
    """Every image below a folder, the images of a list file, or those in tar shards. No labels.

    The list of a large folder is kept, see :func:`~egmim_mm.storage.file_index.indexed_images`; so is that of each
    shard, see :func:`~egmim_mm.storage.tar_index.shard_index`. Shards are read at random places like files: order,
    augmentation and resuming are the same.

    A sample starts as ``dict(img_path=..., sample_idx=...)``, with ``tar_member`` for an image in a shard; the
    pipeline begins with ``egmim_mm.LoadTile``.

    Args:
        data_root: The folder.
        list_file: Text file with one image path per line, relative to ``data_root`` or absolute; empty lines and lines
            that begin with # are skipped. A relative ``list_file`` is looked up in ``data_root`` when it is not found
            as given.
        shards: Uncompressed tar archives as webdataset writes them, relative to ``data_root`` or absolute:
            'corpus-{000000..000127}.tar', a folder of them, a text file with one per line, or several of these. What
            follows the first dot of a file name must be one of ``suffixes``; other files (.json, .txt, .mask.png) are
            left out and counted in the log.
        recursive: Whether folders below ``data_root`` are searched.
        suffixes: Endings of image files, without case.
        include: Shell patterns; an image is used when its path relative to ``data_root`` (of shards: in the archive),
            without suffix, matches one (``*`` also matches '/'): ``include='tile_*/images/image_part_00[1-6]'``.
        min_size: Least height and width in px.
        on_error: What to do with a file that is no image, truncated or too small. ``raise``: stop with its name.
            ``skip``: one log line per file, then without it. Truncated files are only found when they are loaded; the
            next image takes their place.
        check_first: That many headers are checked at start, the others when loaded.
        pipeline: Transforms.
        **kwargs: Arguments of MMEngine's ``BaseDataset``. ``serialize_data`` has no effect: the list is compact.

    Raises:
        FileNotFoundError: The folder, the list file, a listed image or a shard does not exist, or there is no image in
            the folder or the shards.
        TileReadError: With ``on_error='raise'``, the first file or shard that cannot be used.
        ValueError: An unknown ``on_error``, both ``list_file`` and ``shards``, or a malformed shard pattern.
    """

    def __init__(self, data_root: str, list_file: str | None = None, recursive: bool = True,
                 suffixes: Sequence[str] = SUFFIXES, include: str | Sequence[str] | None = None,
                 min_size: int | None = None, on_error: str = 'raise', check_first: int = 5000,
                 pipeline: Sequence = (), shards: str | Sequence[str] | None = None, **kwargs: Any) -> None:
        if on_error not in ('raise', 'skip'):
            raise ValueError(f"on_error '{on_error}' is unknown; there are raise and skip")
        if list_file is not None and shards is not None:
            raise ValueError('list_file names images and shards names archives: set one of them')
        self.shards = shards
        self.list_file, self.recursive, self.suffixes = list_file, recursive, tuple(suffixes)
        self.include, self.min_size, self.on_error = include, min_size, on_error
        self.check_first = check_first
        self._reported: set[str] = set()
        kwargs['serialize_data'] = False
        super().__init__(data_root=str(data_root), data_prefix=dict(img_path=''), pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> ImageTable:
        """List the images and check the first headers."""
        if self.shards is not None:
            skip = None if self.on_error == 'raise' else lambda error: self._report(str(error), error)
            sources = shard_images(find_shards(self.shards, self.data_root), self.suffixes, skip)
            origin = f'shards {self.shards}'
        elif self.list_file is not None:
            sources, origin = FilePaths(self.data_root, PackedNames.of(self._read_list())), f'list {self.list_file}'
        else:
            sources = FilePaths(self.data_root, indexed_images(self.data_root, self.suffixes, self.recursive))
            origin = f'folder {self.data_root} (suffixes {", ".join(self.suffixes)})'
        rows = None
        if self.include is not None:
            stems = (os.path.splitext(name.removeprefix('./'))[0] for name in sources.names)
            rows = [row for row, stem in enumerate(stems) if matches_any(self.include, stem)]
        table = ImageTable(sources, rows)
        if not len(table):
            raise FileNotFoundError(f'no images in {origin}{self._why_none(len(sources))}')
        return self._check_headers(table, origin)

    def _why_none(self, number: int) -> str:
        if number:
            return f'; none of its {number} images matches include={self.include!r}'
        if self.list_file is None and (shards := find_images(self.data_root, ('.tar', ), self.recursive)):
            return f"; it holds {len(shards)} .tar files, which shards='.' reads"
        if self.list_file is None and (rasters := find_images(self.data_root, raster_suffixes(), self.recursive)):
            return f'; it holds rasters such as {rasters[0]}, which egmim_mm.RasterCrops reads'
        return ''

    def _read_list(self) -> list[str]:
        path = self.list_file
        if not os.path.isfile(path) and os.path.isfile(os.path.join(self.data_root, path)):
            path = os.path.join(self.data_root, path)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'list file {self.list_file} does not exist')
        names = list_lines(path)
        if any(name.lower().endswith('.tar') for name in names):
            raise ValueError(f'list file {path} names tar archives: pass it as shards, not as list_file')
        missing = missing_files(names, self.data_root)
        if missing:
            raise FileNotFoundError(f'list file {path}: {len(missing)} of {len(names)} images do not exist in '
                                    f'{self.data_root}: {", ".join(missing[:5])}')
        return names

    def _check_headers(self, table: ImageTable, origin: str) -> ImageTable:
        """Look at the first headers; the table without those that cannot be used."""
        rows = table.rows[:self.check_first]
        table.checked[rows] = True
        bad = []
        for row in rows.tolist():
            path = table.sources[row]
            try:
                self._check_size(path)
            except TileReadError as error:
                if self.on_error == 'raise':
                    raise
                self._report(str(path), error)
                bad.append(row)
        if len(bad) == len(table):
            raise FileNotFoundError(f'no usable images in {origin}: all {len(table)} were skipped')
        return ImageTable(table.sources, table.rows[~np.isin(table.rows, bad)], table.checked) if bad else table

    def _check_size(self, path: str | TarMember) -> None:
        height, width = image_size(path)
        if self.min_size is not None and min(height, width) < self.min_size:
            raise TileReadError(f'{path}: {height} x {width} px (height x width) is smaller than '
                                f'min_size={self.min_size}')

    def _report(self, path: str, error: Exception) -> None:
        if path not in self._reported:
            self._reported.add(path)
            print_log(f'Skipped {error}', logger='current')

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on image ``idx``, or with ``on_error='skip'`` on the next one that loads.

        The choice of the replacement depends on ``idx`` alone, so a run stays reproducible.
        """
        for step in range(len(self)):
            place = (int(idx) + step) % len(self)
            entry = self.get_data_info(place)
            path = entry['img_path']
            try:
                if not entry['header_checked']:
                    self._check_size(entry.get('tar_member', path))
                return super().prepare_data(SampleIndex(place, idx.seed) if hasattr(idx, 'seed') else place)
            except TileReadError as error:
                if self.on_error == 'raise':
                    raise
                self._report(path, error)
        raise TileReadError(f'none of the {len(self)} images of {self.data_root} could be loaded')
