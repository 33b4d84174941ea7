#!/usr/bin/env python
"""iSAID: the zip files of DOTA and iSAID -> patches of 896 px, 512 px apart:

    python tools/dataset_converters/isaid.py DOWNLOAD --out data/iSAID
"""
import argparse
from collections.abc import Sequence

from egmim_mm.environment import quiet_imports


def main(argv: Sequence[str] | None = None) -> None:
    quiet_imports()
    from egmim_mm.converters.command import add_options, print_manifest, settle_grid
    from egmim_mm.converters.isaid import PUBLISHED_TILES, convert_isaid
    from egmim_mm.engine.errors import user_errors
    from egmim_mm.records.provenance import git_state
    parser = argparse.ArgumentParser(
        description='iSAID: the zip files of DOTA and iSAID -> patches of 896 px, 512 px apart. '
        'How to get the files: docs/datasets.md.')
    add_options(parser, 'folder with the downloaded zip files', 'data/iSAID', 896, 512)
    args = parser.parse_args(argv)
    with user_errors():
        crop, stride = settle_grid(args, 896, 512)
        manifest = convert_isaid(args.source, args.out, crop=crop, stride=stride, compat=args.compat,
                                 partial=args.partial, workers=args.workers, overwrite=args.overwrite, code=git_state())
        print_manifest(manifest, args.out, PUBLISHED_TILES)


if __name__ == '__main__':
    main()
