"""Options that all converters share, and the summary they print."""
import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console

from egmim_mm.records.tables import make_table, table_console

from .archives import ConversionError

__all__ = ['add_options', 'convert_published', 'missing_downloads', 'print_manifest', 'settle_grid']


def add_options(parser: argparse.ArgumentParser, source: str, out: str | None, crop: int | None, stride: int | None,
                compat: bool = True, partial: bool = True) -> None:
    """Add SOURCE, --out, --crop, --stride, --workers, --overwrite and, if wanted, --compat and --partial."""
    parser.add_argument('source', metavar='DOWNLOAD', help=source)
    parser.add_argument('--out', required=out is None, default=out, help='folder of the tiles (default: %(default)s)')
    told = f'{crop} px' if crop else 'whole images'
    parser.add_argument('--crop', type=int, help=f'side of a tile in px (default: {told})')
    told = f'{stride} px' if stride else 'the crop'
    parser.add_argument('--stride', type=int,
                        help=f'step between tiles in px (default: {told}, or the crop if one is given)')
    parser.add_argument('--workers', type=int, default=min(4, os.cpu_count() or 1),
                        help='processes (default: %(default)s)')
    parser.add_argument('--overwrite', action='store_true', help='replace tiles made with other settings')
    if compat:
        parser.add_argument('--compat', choices=('mmseg', ),
                            help="exactly the crops of mmsegmentation's converter, for published protocols")
    if partial:
        parser.add_argument('--partial', action='store_true',
                            help='convert what is there, although images of the published set are missing')


def settle_grid(args: argparse.Namespace, crop: int | None, stride: int | None) -> tuple[int | None, int | None]:
    """Crop and stride of a run.

    Raises:
        ConversionError: ``--compat`` together with another grid.
    """
    if getattr(args, 'compat', None) and (args.crop not in (None, crop) or args.stride not in (None, stride)):
        raise ConversionError(f'--compat {args.compat} means a crop of {crop} and a stride of {stride}; leave --crop '
                              'and --stride out')
    if args.crop is None:
        return crop, stride if args.stride is None else args.stride
    return args.crop, args.crop if args.stride is None else args.stride


def convert_published(convert: Callable[..., dict], published: Mapping[str, int], about: str, out: str,
                      crop: int | None, stride: int | None, code: Any, argv: Sequence[str] | None = None) -> None:
    """The whole command of a published data set: options, conversion, summary.

    Args:
        convert: Converter of the data set.
        published: Tiles of each split in the published protocol.
        about: What the command does.
        out: Default folder of the tiles.
        crop, stride: Published grid, px; None: whole images.
        code: State of the code, for the manifest.
        argv: Arguments of the command; None: those of the process.

    Raises:
        ConversionError: See the converter.
    """
    parser = argparse.ArgumentParser(description=f'{about}. How to get the files: docs/datasets.md.')
    add_options(parser, 'folder with the downloaded zip files', out, crop, stride)
    args = parser.parse_args(argv)
    crop, stride = settle_grid(args, crop, stride)
    manifest = convert(args.source, args.out, crop=crop, stride=stride, compat=args.compat, partial=args.partial,
                       workers=args.workers, overwrite=args.overwrite, code=code)
    print_manifest(manifest, args.out, published)


def missing_downloads(folder: str, missing: Mapping[str, str], origin: str) -> ConversionError:
    """What to say when archives are not there.

    Args:
        folder: Where they were looked for.
        missing: Name -> what it holds.
        origin: Where they can be had.
    """
    if not os.path.isdir(folder):
        return ConversionError(f'{folder} is not a folder; give the folder with the downloaded zip files')
    there = sorted(name for _, _, files in os.walk(folder) for name in files if name.lower().endswith('.zip'))
    listed = '; '.join(f'{name} ({what})' for name, what in missing.items())
    return ConversionError(f'{folder} lacks {listed}. Zip files there: {", ".join(there) or "none"}. {origin}')


def print_manifest(manifest: Mapping, out: str, published: Mapping[str, int] | None = None,
                   console: Console | None = None) -> None:
    """Print tiles and class shares of each split, stray values, and how the tiles compare with published counts."""
    console = console or table_console()
    splits, classes = manifest['splits'], manifest['settings']['classes']
    labelled = any(split['class_pixels'] for split in splits.values())
    cells = []
    for name, split in splits.items():
        pixels = split['class_pixels'].get('ann_dir', {})
        total = max(1, sum(pixels.values()))
        cells.append((name, split['images'], split['tiles'],
                      *(f'{100 * pixels[c] / total:.1f}' if c in pixels else '' for c in classes)))
    console.print(make_table(('split', 'images', 'tiles', *classes), (), cells,
                             title=f'{out}: share of labelled pixels, %' if labelled else None))
    if not labelled:
        console.print(f'{out} holds images alone, without masks: for pretraining')
    for name, split in splits.items():
        if split['stray']:
            _print_stray(console, name, split['stray'])
        if split['near']:
            console.print(f"{name}: {split['near']} px had a colour near that of a class or an ignored one and took it")
        if split['overlapped']:
            console.print(f"{name}: labels of several classes lie on {split['overlapped']} px; the later one won")
        if split['blank']:
            console.print(f"{name}: {split['blank']} tiles without a label were left out")
        if split['empty']:
            console.print(f"{name}: {split['empty']} tiles with too little data were left out")
        for note, images in split['notes'].items():
            more = ', ...' if len(images) > 3 else ''
            console.print(f"{name}: {len(images)} of {split['images']} images ({', '.join(images[:3])}{more}): {note}")
    counts = {name: split['tiles'] for name, split in splits.items()}
    if published and counts != dict(published):
        console.print(f'Note: the published protocol has {dict(published)} tiles, this data set {counts}')


def _print_stray(console: Console, split: str, stray: Mapping[str, int]) -> None:
    worst: Sequence = sorted(stray.items(), key=lambda item: -item[1])
    listed = ', '.join(f'{value} ({count} px)' for value, count in worst[:5])
    console.print(f'{split}: {sum(stray.values())} px in {len(worst)} values outside the class list became unlabelled: '
                  f'{listed}')
