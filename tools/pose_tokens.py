# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Poses and photos to pose tokens and back, and pictures of them; see
docs/pose_tokens.md."""
import argparse
import pickle
import sys
from pathlib import Path

import numpy as np
from mmengine.config import Config, DictAction

import mpm_postometro  # noqa: F401  (registers modules, mends imports)
from mpm_postometro.apis import PoseTokenInferencer
from mpm_postometro.apis.boxes import add_box_flags, read_box_flags
from mpm_postometro.apis.pose_token_files import (read_keypoints,
                                                  read_pose_tokens,
                                                  write_keypoints,
                                                  write_pose_tokens)
from mpm_postometro.compat import keep_freed_memory
from mpm_postometro.visualization import (codebook_usage, draw_codebook_usage,
                                          draw_token_effects,
                                          draw_token_influence, frequent_codes,
                                          swap_codes, write_picture)


def parse_args(argv=None):
    """Read the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        '--config', required=True, help='of a tokenizer or a classifier')
    common.add_argument('--checkpoint', help='weights of the model')
    common.add_argument('--out-dir', required=True, help='gets the files')
    common.add_argument('--device', help='cpu, cuda, cuda:1, ...')
    common.add_argument('--batch-size', type=int, default=64)
    common.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value')
    pictures = argparse.ArgumentParser(add_help=False)
    pictures.add_argument(
        '--image-dir',
        help='folder of the pictures of keypoints, for a tokenizer guided by '
        'images')
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        '--split', choices=['val', 'test'], default='val', help='which data')

    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)

    image = commands.add_parser(
        'image', parents=[common], help='photos to codes, with a classifier')
    image.add_argument('images', nargs='+', help='images or folders')
    add_box_flags(image)

    keypoints = commands.add_parser(
        'keypoints', parents=[common, pictures], help='keypoints to codes')
    keypoints.add_argument(
        'file', help='COCO .json, or array (people, joints, 2) as .npy, .npz')

    decode = commands.add_parser(
        'decode', parents=[common], help='codes to keypoints')
    decode.add_argument('file', help='.npz with codes')

    picture = commands.add_parser(
        'picture',
        parents=[common, data, pictures],
        help='draw what each token of a pose moves')
    picture.add_argument(
        '--index', type=int, default=0, help='of the pose in the data or file')
    picture.add_argument(
        '--keypoints', metavar='FILE', help='take the pose from this file')
    picture.add_argument(
        '--codes', type=int, default=6, help='other codes for each token')
    picture.add_argument(
        '--num-poses',
        type=int,
        default=300,
        help='poses of the data that say which codes are frequent; over 50 '
        'of them the influence is averaged')

    usage = commands.add_parser(
        'usage', parents=[common, data], help='plot how a codebook is used')
    usage.add_argument(
        '--num-poses', type=int, help='of the data; all by default')
    return parser.parse_args(argv)


def _spread(dataset, num):
    """Indices of so many items, evenly spread."""
    if num is None or num >= len(dataset):
        return range(len(dataset))
    return np.linspace(0, len(dataset) - 1, num).round().astype(int).tolist()


def run_image(args, inferencer) -> int:
    """Photos to codes."""
    images = args.images if len(args.images) > 1 else args.images[0]
    output = inferencer(
        images,
        read_box_flags(args),
        args.out_dir,
        bbox_format=args.bbox_format,
        show_progress=True)
    print(f'{len(output.people)} people in {output.num_images} images; '
          f'{len(output.files)} files in {args.out_dir}')
    if output.errors:
        print(f'{len(output.errors)} could not be done:', file=sys.stderr)
        for text in output.errors:
            print(f'  {text}', file=sys.stderr)
    return 1 if output.errors else 0


def run_keypoints(args, inferencer) -> int:
    """Keypoints to codes."""
    codes, poses = _tokenize_file(args.file, args.image_dir, inferencer)
    keypoints = np.where(poses.visible[..., None] > 0, poses.keypoints, np.nan)
    extra = {
        key: getattr(poses, key)
        for key in ('bboxes', 'image_ids', 'images')
        if getattr(poses, key) is not None
    }
    path = write_pose_tokens(
        Path(args.out_dir) / 'pose_tokens.npz',
        codes=codes,
        num_codes=inferencer.tokenizer.num_codes,
        keypoints=keypoints,
        joint_names=inferencer.joint_names,
        **extra)
    print(f'{len(codes)} poses of {codes.shape[1]} codes in {path}')
    return 0


def _tokenize_file(path, image_dir, inferencer):
    """Codes of the poses of a file, and the poses."""
    poses = read_keypoints(path)
    if not inferencer.tokenizer.guide_channels:
        codes = inferencer.tokenize(poses.keypoints, poses.visible,
                                    poses.bboxes)
        return codes, poses
    if image_dir is None or poses.images is None:
        raise ValueError(
            'this tokenizer is guided by image features: it needs '
            '--image-dir, and a file that names the picture of each pose')
    codes = np.empty((len(poses.keypoints), inferencer.tokenizer.num_tokens),
                     np.int64)
    for name in np.unique(poses.images):
        rows = poses.images == name
        codes[rows] = inferencer.tokenize(
            poses.keypoints[rows], poses.visible[rows],
            None if poses.bboxes is None else poses.bboxes[rows],
            Path(image_dir) / str(name))
    return codes, poses


def run_decode(args, inferencer) -> int:
    """Codes to keypoints."""
    tokens = read_pose_tokens(args.file)
    if tokens['num_codes'] != inferencer.tokenizer.num_codes:
        raise ValueError(
            f'{args.file}: codes of a codebook of {tokens["num_codes"]}, '
            f'the config has one of {inferencer.tokenizer.num_codes}')
    keypoints = inferencer.decode(tokens['codes'], tokens.get('bboxes'))
    out_dir = Path(args.out_dir)
    files = [write_keypoints(out_dir / 'keypoints.npy', keypoints)]
    if 'image_ids' in tokens:
        files.append(
            write_keypoints(out_dir / 'keypoints.json', keypoints,
                            tokens['image_ids']))
    frame = ('pixels of the pictures'
             if 'bboxes' in tokens else "pixels of the network's input")
    if inferencer.tokenizer.coord_dims != 2:
        frame = "the tokenizer's units"
    print(f'{len(keypoints)} poses in {frame}: '
          f'{", ".join(str(f) for f in files)}')
    return 0


def run_picture(args, inferencer) -> int:
    """Draw what each token moves."""
    dataset = inferencer.build_dataset(args.split)
    data = inferencer.tokenize_dataset(
        dataset, _spread(dataset, args.num_poses), show_progress=True)['codes']
    image = None
    if args.keypoints:
        codes, _ = _tokenize_file(args.keypoints, args.image_dir, inferencer)
        if not 0 <= args.index < len(codes):
            raise ValueError(f'{args.keypoints} has {len(codes)} poses (from '
                             f'0), and none {args.index}')
        codes = codes[args.index]
    else:
        codes = inferencer.tokenize_dataset(dataset, [args.index])['codes'][0]
        inputs = dataset[args.index]['inputs']
        if inputs.ndim == 3:  # a picture, not keypoints
            image = inputs.numpy().transpose(1, 2, 0)

    in_pixels = inferencer.tokenizer.coord_dims == 2
    unit, factor = ('px', 1) if in_pixels else ('mm', 1000)  # of metres

    def effects_of(pose_codes):
        return swap_codes(lambda swapped: factor * inferencer.decode(swapped),
                          pose_codes,
                          frequent_codes(data, pose_codes, args.codes))

    effects = effects_of(codes)
    poses = data[_spread(data, 50)]
    influence = np.mean([effects_of(pose).influence for pose in poses], 0)
    pictures = dict(
        tokens=draw_token_effects(
            effects,
            inferencer.dataset_meta['skeleton_links'],
            inferencer.joint_names,
            unit=unit,
            image=image,
            title='What each token moves: the pose (dark), and the same pose '
            f'with the {args.codes} most frequent other codes in one token '
            '(orange)'),
        influence=draw_token_influence(
            influence,
            inferencer.joint_names,
            unit=unit,
            title='How far each token moves each joint: mean over '
            f'{len(poses)} poses and {args.codes} other codes'))
    for name, drawn in pictures.items():
        print(write_picture(Path(args.out_dir) / f'{name}.png', drawn))
    return 0


def run_usage(args, inferencer) -> int:
    """Plot how the codebook is used."""
    dataset = inferencer.build_dataset(args.split)
    data = inferencer.tokenize_dataset(
        dataset, _spread(dataset, args.num_poses), show_progress=True)
    usage = codebook_usage(data['codes'], inferencer.tokenizer.num_codes)
    out_dir = Path(args.out_dir)
    print(f'{100 * usage.used:.1f} % of {len(usage.counts)} codes are used, '
          f'perplexity {usage.perplexity:.1f}')
    print(write_pose_tokens(out_dir / 'usage.npz', **data))
    print(
        write_picture(
            out_dir / 'usage.png',
            draw_codebook_usage(
                usage, title=f'Codebook usage of {len(data["codes"])} poses')))
    return 0


COMMANDS = dict(
    image=run_image,
    keypoints=run_keypoints,
    decode=run_decode,
    picture=run_picture,
    usage=run_usage)


def main(argv=None) -> int:
    """Run; 0 if everything was done, 1 if something was not."""
    args = parse_args(argv)
    keep_freed_memory()
    try:
        config = Config.fromfile(args.config)
        if args.cfg_options:
            config.merge_from_dict(args.cfg_options)
        inferencer = PoseTokenInferencer(
            config, args.checkpoint, args.device, batch_size=args.batch_size)
        return COMMANDS[args.command](args, inferencer)
    except (OSError, ValueError, pickle.UnpicklingError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
