#!/usr/bin/env python
"""Write a segmentation model as an ONNX file, compared with PyTorch before it is there.

    python tools/export_onnx.py CONFIG CHECKPOINT --out model.onnx --dynamic
    python tools/predict.py model.onnx imagery/*.tif --out maps
"""
import argparse

from egmim_mm.environment import quiet_imports

quiet_imports()

from mmengine.logging import MMLogger  # noqa: E402

from egmim_mm.engine.errors import user_errors  # noqa: E402
from egmim_mm.inference.onnx.export import OPSET, export_checkpoint  # noqa: E402
from egmim_mm.option_values import OptionAction  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of the fine-tuning run')
    parser.add_argument('checkpoint', help='checkpoint file, work dir or address')
    parser.add_argument('--out', required=True, metavar='FILE', help='the file, ending in .onnx')
    parser.add_argument('--size', type=int, nargs='+', metavar='PX', help='side of the images, or height and width: '
                        "multiples of 32 (default: the crop of the config's slide inference)")
    parser.add_argument('--dynamic', action='store_true', help='take images of every size that is a multiple of 32 px')
    parser.add_argument('--opset', type=int, default=OPSET, help='version of the operators (default: %(default)s)')
    parser.add_argument('--overwrite', action='store_true', help='replace a file that is there')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='unpickle everything in the checkpoint; this can run code of its author')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE',
                        help='override settings of the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    MMLogger.get_instance('export', logger_name='mmengine', log_level='WARNING')
    with user_errors():
        export_checkpoint(**vars(args))


if __name__ == '__main__':
    main()
