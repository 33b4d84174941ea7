#!/usr/bin/env python
"""LoveDA: the published zip files -> images and masks of 1024 px:

    python tools/dataset_converters/loveda.py DOWNLOAD --out data/loveda
"""
from collections.abc import Sequence

from egmim_mm.environment import quiet_imports


def main(argv: Sequence[str] | None = None) -> None:
    quiet_imports()
    from egmim_mm.converters.command import convert_published
    from egmim_mm.converters.loveda import PUBLISHED_TILES, convert_loveda
    from egmim_mm.engine.errors import user_errors
    from egmim_mm.records.provenance import git_state
    with user_errors():
        convert_published(convert_loveda, PUBLISHED_TILES,
                          'LoveDA: the published zip files -> images and masks of 1024 px',
                          'data/loveda', None, None, git_state(), argv)


if __name__ == '__main__':
    main()
