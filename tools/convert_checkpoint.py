#!/usr/bin/env python
"""Write the Swin backbone of any checkpoint as a clean file for this package or for another library."""
import argparse
from pathlib import Path

from egmim_mm.environment import quiet_imports

quiet_imports()

from egmim_mm.checkpoints.exporting import TARGETS, convert_file  # noqa: E402
from egmim_mm.checkpoints.loading import describe_arch, read_backbone  # noqa: E402
from egmim_mm.engine.errors import user_errors  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='checkpoint file, work dir or address (http, https, file)')
    parser.add_argument('target', type=Path, help='new file: .safetensors, or .pth')
    parser.add_argument('--to', choices=TARGETS, default='egmim', help='library that will read it')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='unpickle everything in the source; this can run code of its author')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with user_errors():
        meta = convert_file(args.source, args.target, args.to, args.trust_checkpoint)
        if args.to == 'egmim':
            print(f'A {describe_arch(read_backbone(str(args.target))[1].weights)}.')
        print(f'{args.target} written for {args.to}, from {meta["source_format"]}, '
              f'source SHA-256 {meta["source_sha256"]}')


if __name__ == '__main__':
    main()
