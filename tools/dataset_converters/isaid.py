#!/usr/bin/env python
"""iSAID: the zip files of DOTA and iSAID -> patches of 896 px, 512 px apart:

    python tools/dataset_converters/isaid.py DOWNLOAD --out data/iSAID
"""
from collections.abc import Sequence

from egmim_mm.environment import quiet_imports


def main(argv: Sequence[str] | None = None) -> None:
    quiet_imports()
    from egmim_mm.converters.command import convert_published
    from egmim_mm.converters.isaid import PUBLISHED_TILES, convert_isaid
    from egmim_mm.engine.errors import user_errors
    from egmim_mm.records.provenance import git_state
    with user_errors():
        convert_published(convert_isaid, PUBLISHED_TILES,
                          'iSAID: the zip files of DOTA and iSAID -> patches of 896 px, 512 px apart',
                          'data/iSAID', 896, 512, git_state(), argv)


if __name__ == '__main__':
    main()
