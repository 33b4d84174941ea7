#!/usr/bin/env python
"""Measure how the bands of rasters become 8 bits, for RasterCrops:

    python tools/measure_bands.py data/mine/*.tif --out data/mine/bands.json
"""
import argparse
from collections.abc import Sequence

from egmim_mm.environment import quiet_imports


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure which values of each band become 0 and 255, and mean and '
                                     'standard deviation after that, on random windows.')
    parser.add_argument('rasters', nargs='+')
    parser.add_argument('--out', required=True, help='JSON file, for RasterCrops(scaling=...)')
    parser.add_argument('--bands', type=int, nargs='+', help='bands, from 1 on (default: all but alpha)')
    parser.add_argument('--percentiles', type=float, nargs=2, default=(1, 99), metavar=('LOW', 'HIGH'),
                        help='per cent of the pixels below 0 and below 255 (default: 1 99)')
    parser.add_argument('--nodata', metavar='VALUE|none', help='value of pixels without data, '
                        'instead of what the files say; none: all pixels hold data')
    parser.add_argument('--windows', type=int, default=200, help='(default: %(default)s)')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    quiet_imports()
    args = parse_args(argv)
    from egmim_mm.engine.errors import user_errors
    from egmim_mm.records.provenance import write_json
    from egmim_mm.records.tables import print_table
    from egmim_mm.storage.band_scaling import measure_bands
    from egmim_mm.storage.rasters import parse_nodata
    with user_errors():
        measured = measure_bands(args.rasters, args.bands, args.windows, percentiles=tuple(args.percentiles),
                                 nodata=parse_nodata(args.nodata))
        write_json(args.out, measured)
        print_table(('band', 'low', 'high', 'mean of 0..255', 'std'), (),
                    [(band['band'], *(f'{band[key]:.4g}' for key in ('low', 'high', 'mean', 'std')))
                     for band in measured['bands']])
        for path in measured['empty']:
            print(f'{path} holds no data in the windows that were looked at')
        print(f"wrote {args.out}: {measured['pixels']} {measured['dtype']} pixels of {measured['rasters']} rasters")


if __name__ == '__main__':
    main()
