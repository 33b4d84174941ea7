#!/usr/bin/env python
"""ISPRS Vaihingen: the published zip files -> tiles of 512 px:

    python tools/dataset_converters/vaihingen.py DOWNLOAD --out data/vaihingen
"""
import argparse
from collections.abc import Sequence

from egmim_mm.environment import quiet_imports


def main(argv: Sequence[str] | None = None) -> None:
    quiet_imports()
    from egmim_mm.converters.command import add_options, print_manifest, settle_grid
    from egmim_mm.converters.vaihingen import PUBLISHED_TILES, convert_vaihingen
    from egmim_mm.engine.errors import user_errors
    from egmim_mm.records.provenance import git_state
    parser = argparse.ArgumentParser(
        description='ISPRS Vaihingen: the published zip files -> tiles of 512 px. '
        'How to get the files: docs/datasets.md.')
    add_options(parser, 'folder with the downloaded zip files', 'data/vaihingen', 512, 512)
    args = parser.parse_args(argv)
    with user_errors():
        crop, stride = settle_grid(args, 512, 512)
        manifest = convert_vaihingen(args.source, args.out, crop=crop, stride=stride, compat=args.compat,
                              partial=args.partial, workers=args.workers, overwrite=args.overwrite, code=git_state())
        print_manifest(manifest, args.out, PUBLISHED_TILES)


if __name__ == '__main__':
    main()
