#!/usr/bin/env python
"""ISPRS Potsdam: the published zip files -> tiles of 512 px:

    python tools/dataset_converters/potsdam.py DOWNLOAD --out data/potsdam
"""
from collections.abc import Sequence

from egmim_mm.environment import quiet_imports


def main(argv: Sequence[str] | None = None) -> None:
    quiet_imports()
    from egmim_mm.converters.command import convert_published
    from egmim_mm.converters.potsdam import PUBLISHED_TILES, convert_potsdam
    from egmim_mm.engine.errors import user_errors
    from egmim_mm.records.provenance import git_state
    with user_errors():
        convert_published(convert_potsdam, PUBLISHED_TILES,
                          'ISPRS Potsdam: the published zip files -> tiles of 512 px',
                          'data/potsdam', 512, 512, git_state(), argv)


if __name__ == '__main__':
    main()
