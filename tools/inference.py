# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Reconstruct the people in photos; see docs/inference.md."""
import argparse
import pickle
import sys

from mmengine.config import Config, DictAction

import mpm_postometro  # noqa: F401  (registers modules, mends imports)
from mpm_postometro.apis.boxes import add_box_flags, read_box_flags
from mpm_postometro.apis.inferencer import MeshInferencer
from mpm_postometro.compat import keep_freed_memory
from mpm_postometro.visualization import MESH_FORMATS


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Photos and person boxes to meshes. Writes an overlay, '
        'the numbers (.npz) and the meshes.')
    parser.add_argument('images', nargs='+', help='images or folders')
    parser.add_argument('--config', required=True, help='of the model')
    parser.add_argument('--checkpoint', help='weights of the model')
    parser.add_argument('--out-dir', required=True, help='gets the files')
    add_box_flags(parser)
    parser.add_argument(
        '--format',
        nargs='*',
        choices=MESH_FORMATS,
        default=list(MESH_FORMATS),
        help='mesh files to write')
    parser.add_argument(
        '--viewer',
        action='store_true',
        help='also write a page with the meshes to turn')
    parser.add_argument(
        '--focal-length',
        type=float,
        help='of the camera, in pixels; by default the diagonal of the image')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...')
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Run; 0 if everything was done, 1 if something was not."""
    args = parse_args(argv)
    keep_freed_memory()
    try:
        bboxes = read_box_flags(args)
        config = Config.fromfile(args.config)
        if args.cfg_options:
            config.merge_from_dict(args.cfg_options)
        inferencer = MeshInferencer(
            config, args.checkpoint, args.device, batch_size=args.batch_size)
        images = args.images if len(args.images) > 1 else args.images[0]
        output = inferencer(
            images,
            bboxes,
            args.out_dir,
            bbox_format=args.bbox_format,
            focal_length=args.focal_length,
            formats=args.format,
            viewer=args.viewer,
            show_progress=True)
    except (OSError, ValueError, pickle.UnpicklingError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{len(output.people)} people in {output.num_images} images; '
          f'{len(output.files)} files in {args.out_dir}')
    if output.errors:
        print(f'{len(output.errors)} could not be done:', file=sys.stderr)
        for text in output.errors:
            print(f'  {text}', file=sys.stderr)
    return 1 if output.errors else 0


if __name__ == '__main__':
    sys.exit(main())
