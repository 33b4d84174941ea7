#!/usr/bin/env python
"""LoveDA: the published zip files -> images and masks of 1024 px:

    python tools/dataset_converters/loveda.py DOWNLOAD --out data/loveda
"""
import argparse
from collections.abc import Sequence

from egmim_mm.environment import quiet_imports


def main(argv: Sequence[str] | None = None) -> None:
    quiet_imports()
    from egmim_mm.converters.command import add_options, print_manifest, settle_grid
    from egmim_mm.converters.loveda import PUBLISHED_TILES, convert_loveda
    from egmim_mm.engine.errors import user_errors
    from egmim_mm.records.provenance import git_state
    parser = argparse.ArgumentParser(
        description='LoveDA: the published zip files -> images and masks of 1024 px. '
        'How to get the files: docs/datasets.md.')
    add_options(parser, 'folder with the downloaded zip files', 'data/loveda', None, None)
    args = parser.parse_args(argv)
    with user_errors():
        crop, stride = settle_grid(args, None, None)
        manifest = convert_loveda(args.source, args.out, crop=crop, stride=stride, compat=args.compat,
                              partial=args.partial, workers=args.workers, overwrite=args.overwrite, code=git_state())
        print_manifest(manifest, args.out, PUBLISHED_TILES)


if __name__ == '__main__':
    main()
