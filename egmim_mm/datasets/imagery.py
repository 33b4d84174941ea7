"""Unlabelled imagery for pretraining."""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from ..registry import DATASETS
from .file_index import indexed_images
from .image_files import SUFFIXES, matches_any
from .position_seed import SampleIndex, SeededByPosition
from .tile_reading import TileReadError, image_size

__all__ = ['UnlabeledTiles']


@DATASETS.register_module()
class UnlabeledTiles(SeededByPosition, BaseDataset):
    """Every image below a folder, or the images of a list file. No labels.

    The list of a large folder is kept, see :func:`~egmim_mm.datasets.file_index.indexed_images`.

    A sample starts as ``dict(img_path=..., sample_idx=...)``; the pipeline normally begins with
    ``egmim_mm.LoadTile``.

    Args:
        data_root (str): The folder.
        list_file (str | None): Text file with one image path per line, relative to ``data_root`` or
            absolute; empty lines and lines that begin with # are skipped. A relative ``list_file`` is
            looked up in ``data_root`` when it is not found as given.
        recursive (bool): Whether folders below ``data_root`` are searched.
        suffixes (Sequence[str]): Endings of image files, without case.
        include (str | Sequence[str] | None): Shell patterns; an image is used when its path relative to
            ``data_root``, without suffix, matches one (``*`` also matches '/'):
            ``include='tile_*/images/image_part_00[1-6]'``.
        min_size (int | None): Least height and width in px.
        on_error (str): What to do with a file that is no image, truncated or too small. ``raise``: stop
            with its name. ``skip``: one log line per file, then without it. Truncated files are only
            found when they are loaded; the next image takes their place.
        check_first (int): That many headers are checked at start, the others when loaded.
        pipeline (Sequence): Transforms.
        **kwargs: Arguments of MMEngine's ``BaseDataset``.

    Raises:
        FileNotFoundError: The folder, the list file or a listed image does not exist, or there is no
            image in the folder.
        TileReadError: With ``on_error='raise'``, the first file that cannot be used.
    """

    def __init__(self, data_root: str, list_file: str | None = None, recursive: bool = True,
                 suffixes: Sequence[str] = SUFFIXES, include: str | Sequence[str] | None = None,
                 min_size: int | None = None, on_error: str = 'raise', check_first: int = 5000,
                 pipeline: Sequence = (), **kwargs: Any) -> None:
        if on_error not in ('raise', 'skip'):
            raise ValueError(f"on_error '{on_error}' is unknown; there are raise and skip")
        self.list_file, self.recursive, self.suffixes = list_file, recursive, tuple(suffixes)
        self.include, self.min_size, self.on_error = include, min_size, on_error
        self.check_first = check_first
        self._reported: set[str] = set()
        super().__init__(data_root=str(data_root), data_prefix=dict(img_path=''), pipeline=list(pipeline),
                         **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images and check the first headers."""
        if self.list_file is None:
            relative = indexed_images(self.data_root, self.suffixes, self.recursive)
            origin = f'folder {self.data_root} (suffixes {", ".join(self.suffixes)})'
        else:
            relative = self._read_list()
            origin = f'list file {self.list_file}'
        kept = [path for path in relative if matches_any(self.include, os.path.splitext(path)[0])]
        if not kept:
            reason = f'; none of its {len(relative)} images matches include={self.include!r}' if relative else ''
            raise FileNotFoundError(f'no images in {origin}{reason}')
        return self._check_headers([os.path.join(self.data_root, path) for path in kept], origin)

    def _read_list(self) -> list[str]:
        path = self.list_file
        if not os.path.isfile(path) and os.path.isfile(os.path.join(self.data_root, path)):
            path = os.path.join(self.data_root, path)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'list file {self.list_file} does not exist')
        with open(path, encoding='utf-8') as file:
            lines = [line.strip() for line in file]
        names = [line for line in lines if line and not line.startswith('#')]
        missing = [name for name in names if not os.path.isfile(os.path.join(self.data_root, name))]
        if missing:
            raise FileNotFoundError(f'list file {path}: {len(missing)} of {len(names)} images do not exist in '
                                    f'{self.data_root}: {", ".join(missing[:5])}')
        return names

    def _check_headers(self, paths: list[str], origin: str) -> list[dict]:
        entries = []
        for number, path in enumerate(paths):
            checked = number < self.check_first
            try:
                if checked:
                    self._check_size(path)
            except TileReadError as error:
                if self.on_error == 'raise':
                    raise
                self._report(path, error)
                continue
            entries.append(dict(img_path=path, header_checked=checked))
        if not entries:
            raise FileNotFoundError(f'no usable images in {origin}: all {len(paths)} were skipped')
        return entries

    def _check_size(self, path: str) -> None:
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
            info = self.get_data_info(place)
            path, checked = info['img_path'], info['header_checked']
            try:
                if not checked:
                    self._check_size(path)
                return super().prepare_data(SampleIndex(place, idx.seed) if hasattr(idx, 'seed') else place)
            except TileReadError as error:
                if self.on_error == 'raise':
                    raise
                self._report(path, error)
        raise TileReadError(f'none of the {len(self)} images of {self.data_root} could be loaded')
