#!/usr/bin/env python
"""Make maps: the class of every pixel of rasters of any size, as GeoTIFF files in the same place.

    python tools/predict.py CONFIG CHECKPOINT imagery/*.tif --out maps
    python tools/predict.py model.onnx imagery/*.tif --out maps
    python tools/torchrun.py --standalone --nproc_per_node 4 tools/predict.py CONFIG CHECKPOINT imagery --out maps
"""
import argparse

from egmim_mm.environment import quiet_imports

quiet_imports()

from mmengine.logging import MMLogger  # noqa: E402

from egmim_mm.engine.errors import user_errors  # noqa: E402
from egmim_mm.inference.run import run_prediction  # noqa: E402
from egmim_mm.option_values import OptionAction  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='%(prog)s (CONFIG CHECKPOINT | MODEL.onnx) INPUT [INPUT ...] --out DIR [options]')
    parser.add_argument('config', help='config of the fine-tuning run, or a file of tools/export_onnx.py')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file, work dir or address; none with an ONNX file')
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help='rasters, or folders of them')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder of the maps')
    parser.add_argument('--window', type=int, help="side of a window, px (default: the crop of the config's slide "
                        'inference)')
    parser.add_argument('--overlap', type=float, default=0.25,
                        help='share of a window that its neighbour covers too (default: %(default)s)')
    parser.add_argument('--batch', type=int, help='windows at once (default: 8 on a GPU, 1 on a CPU)')
    parser.add_argument('--bands', type=int, nargs='+', help='bands, from 1 on (default: all but alpha)')
    parser.add_argument('--scaling', metavar='FILE', help='of tools/measure_bands.py, for samples that are not 8-bit')
    parser.add_argument('--nodata', metavar='VALUE', help="no-data value in place of the file's, or 'none': all "
                        'pixels hold data')
    parser.add_argument('--probabilities', action='store_true', help='also NAME_probabilities.tif, a band per class')
    parser.add_argument('--confidence', action='store_true', help='also NAME_confidence.tif')
    parser.add_argument('--polygons', action='store_true', help='also NAME.gpkg, the outlines of the regions')
    parser.add_argument('--tta', action='store_true', help='average over mirror images; three times the time')
    again = parser.add_mutually_exclusive_group()
    again.add_argument('--resume', action='store_true', help='leave maps that are there, and made in the same way')
    again.add_argument('--overwrite', action='store_true', help='replace maps that are there')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='unpickle everything in the checkpoint; this can run code of its author')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE',
                        help='override settings of the config')
    args = parser.parse_intermixed_args()
    if args.config.endswith('.onnx'):  # what stood in the place of the checkpoint is the first of the inputs
        args.inputs = [path for path in (args.checkpoint, *args.inputs) if path]
        args.checkpoint = None
        for option in ('cfg_options', 'trust_checkpoint'):
            if getattr(args, option):
                parser.error(f'--{option.replace("_", "-")} is about a config and its checkpoint; {args.config} has '
                             'neither')
    elif args.checkpoint is None:
        parser.error('the following arguments are required: CONFIG, CHECKPOINT and INPUT')
    return args


def main() -> None:
    args = parse_args()
    MMLogger.get_instance('predict', logger_name='mmengine', log_level='WARNING')
    with user_errors('Interrupted before the first map: give the same command again'):
        run_prediction(**vars(args))


if __name__ == '__main__':
    main()
