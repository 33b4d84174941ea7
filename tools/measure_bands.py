#!/usr/bin/env python
"""Measure how the bands of rasters become 8 bits, for RasterCrops:

    python tools/measure_bands.py data/mine/*.tif --out data/mine/bands.json
"""
import argparse

from egmim_mm.environment import quiet_imports


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure which values of each band become 0 and 255, and mean and '
                                     'standard deviation after that, on random windows.')
    parser.add_argument('rasters', nargs='+')
    parser.add_argument('--out', required=True, help='JSON file, for RasterCrops(scaling=...)')
    parser.add_argument('--bands', type=int, nargs='+', help='bands, from 1 on (default: all but alpha)')
    parser.add_argument('--percentiles', type=float, nargs=2, default=(1, 99), metavar=('LOW', 'HIGH'),
                        help='per cent of the pixels below 0 and below 255 (default: 1 99)')
    parser.add_argument('--windows', type=int, default=200, help='(default: %(default)s)')
    return parser.parse_args(argv)


def main(argv=None) -> None:
    quiet_imports()
    args = parse_args(argv)
    from rich.console import Console
    from rich.table import Table

    from egmim_mm.engine.errors import user_errors
    from egmim_mm.records.provenance import write_json
    from egmim_mm.storage.band_scaling import measure_bands
    with user_errors():
        facts = measure_bands(args.rasters, args.bands, args.windows, percentiles=tuple(args.percentiles))
        write_json(args.out, facts)
        table = Table('band', 'low', 'high', 'mean of 0..255', 'std')
        for band in facts['bands']:
            table.add_row(str(band['band']), *(f'{band[key]:.4g}' for key in ('low', 'high', 'mean', 'std')))
        Console().print(table)
        print(f"wrote {args.out}: {facts['pixels']} pixels of {facts['rasters']} rasters")


if __name__ == '__main__':
    main()
