#!/usr/bin/env python
"""Any folder of images and masks, of images and labels drawn in a GIS, or of images alone -> tiles:

    python tools/dataset_converters/folder.py MY_FOLDER --out data/mine --classes road=#6EC1E4 water=#E2A929 \
        --ignore '#000000' --val 'area_5/*'
    python tools/dataset_converters/folder.py MY_FOLDER --out data/mine --labels labels.gpkg --class-field kind
    python tools/dataset_converters/folder.py MY_FOLDER --out data/mine
"""
import argparse
from collections.abc import Sequence

from egmim_mm.environment import quiet_imports


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    from egmim_mm.converters.command import add_options
    parser = argparse.ArgumentParser(description='A folder of images, with masks in colours or numbers, with vector '
                                     'labels or without, any raster format -> tiles of 512 px. GeoTIFF stays GeoTIFF, '
                                     'with transform and CRS.')
    add_options(parser, 'folder with the images and masks', None, 512, None, compat=False, partial=False)
    parser.add_argument('--images', default='images', help="their folder; one part may be '*' (default: %(default)s)")
    parser.add_argument('--masks', default='masks', help="their folder; one part may be '*' (default: %(default)s)")
    parser.add_argument('--labels', nargs='+', default=(), metavar='FILE', help='points, lines and polygons in place '
                        'of masks: GeoPackage, GeoJSON, Shapefile, ...; a later feature wins over an earlier one')
    parser.add_argument('--class-field', metavar='NAME', help='field of their features with the class (default: class)')
    parser.add_argument('--radius', type=float, metavar='PX', help='pixels that a point or line labels around it '
                        '(default: 2)')
    parser.add_argument('--image-suffix', nargs='+', help='endings of images (default: any raster format)')
    parser.add_argument('--mask-suffix', nargs='+', help='endings of masks (default: any raster format)')
    parser.add_argument('--pair', nargs=2, metavar=('IMAGE', 'MASK'), help='patterns whose first groups are equal for '
                        "an image and its mask: 'rgb_(.+)' 'label_(.+)' (default: equal names)")
    parser.add_argument('--classes', nargs='+', default=(), metavar='NAME[=VALUE]', help='road=#6EC1E4 ... for '
                        'colours, road=3 ... for numbers, road ... for 0, 1, 2, ...; of --labels road ... or '
                        'road=VALUE ...; left out: images alone, or all classes of --labels')
    parser.add_argument('--ignore', nargs='+', default=(), metavar='VALUE', help='colours or numbers without label')
    parser.add_argument('--max-stray', type=float, default=0.0, metavar='SHARE',
                        help='share of a mask that may have other values, which become unlabelled (default: 0)')
    parser.add_argument('--tolerance', type=float, default=0.0, metavar='LEVELS',
                        help='distance in RGB up to which a colour counts as the nearest one listed (default: 0)')
    parser.add_argument('--val', nargs='+', default=(), metavar='PATTERN', help='names of validation images')
    parser.add_argument('--unlabeled', action='store_true', help='images without mask, which otherwise are an '
                        'error, go to img_dir/unlabeled')
    parser.add_argument('--whole', action='store_true', help='do not cut: one tile for each image')
    parser.add_argument('--bands', type=int, nargs='+', help='bands of the file to keep, from 1 on')
    parser.add_argument('--nodata', metavar='VALUE|none', help='value of pixels without data, '
                        'instead of what the files say; none: all pixels hold data')
    parser.add_argument('--min-valid', type=float, default=0.0, metavar='SHARE', help='share of a tile that must hold '
                        'data; one without any is never written (default: 0)')
    parser.add_argument('--scale', type=float, nargs=2, metavar=('LOW', 'HIGH'), help='values that become 0 and 255')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    quiet_imports()
    args = parse_args(argv)
    from egmim_mm.converters.command import print_manifest, settle_grid
    from egmim_mm.converters.folder import convert_folder
    from egmim_mm.engine.errors import user_errors
    from egmim_mm.records.provenance import git_state
    from egmim_mm.storage.rasters import parse_nodata
    with user_errors():
        crop, stride = (None, None) if args.whole else settle_grid(args, 512, 512)
        manifest = convert_folder(
            args.source, args.out, args.classes, args.ignore, args.images, args.masks, args.image_suffix,
            args.mask_suffix, args.val, args.unlabeled, args.max_stray, args.bands,
            tuple(args.scale) if args.scale else None, crop, stride, args.pair, args.tolerance,
            parse_nodata(args.nodata), args.min_valid, args.labels, args.class_field, args.radius,
            workers=args.workers, overwrite=args.overwrite, code=git_state())
        print_manifest(manifest, args.out)
        print(f'wrote {args.out}/dataset_config.py: copy it to configs/_base_/datasets')


if __name__ == '__main__':
    main()
