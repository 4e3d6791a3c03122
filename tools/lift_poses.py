# Copyright (c) The mpm_postometro authors. All rights reserved.
"""2D poses of a video to 3D, or 3D poses with holes to whole ones, and a
film of them; see docs/mpm_inference.md."""
import argparse
import pickle
import sys
from pathlib import Path

from mmengine.config import Config, DictAction

import mpm_postometro  # noqa: F401  (registers modules, mends imports)
from mpm_postometro.apis import PoseSequenceInferencer
from mpm_postometro.apis.pose_track_files import write_pose_files
from mpm_postometro.bodies.axes import AXES
from mpm_postometro.compat import keep_freed_memory
from mpm_postometro.visualization import VIDEO_FORMATS


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'must be positive, got {text}')
    return value


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'input',
        help='detections as .json; poses as .npy or .npz (2D, or 3D to be '
        'completed)')
    parser.add_argument('--config', required=True, help='of an MPM model')
    parser.add_argument('--checkpoint', help='weights of the model')
    parser.add_argument('--out-dir', required=True, help='gets the files')
    parser.add_argument(
        '--image-size',
        nargs=2,
        type=int,
        metavar=('W', 'H'),
        help='of the video, pixels; needed to lift')
    parser.add_argument(
        '--layout', help='joints of 2D poses: coco17, halpe26 or h36m17')
    parser.add_argument(
        '--min-frames',
        type=int,
        default=1,
        help='shorter tracks of detections are left out')
    parser.add_argument(
        '--max-gap',
        type=int,
        default=30,
        help='frames in a row that are filled in where a track leaves them '
        'out; after a longer gap a new one begins')
    parser.add_argument(
        '--axes',
        choices=list(AXES),
        default='camera',
        help='of 3D poses, in and out: ' + '; '.join(f'{k}: {v}'
                                                     for k, v in AXES.items()))
    parser.add_argument(
        '--frame-step',
        type=int,
        default=1,
        help="the video's frame rate divided by the model's")
    parser.add_argument(
        '--window-step',
        type=int,
        help='frames from one window to the next; by default 1 or a third')
    parser.add_argument(
        '--score-threshold',
        type=float,
        help='joints with lower scores are hidden, if the model can do so')
    parser.add_argument(
        '--video',
        choices=[*VIDEO_FORMATS, 'none'],
        default='mp4',
        help='film to draw of each track')
    parser.add_argument(
        '--fps', type=_positive, default=30., help='of the video')
    parser.add_argument(
        '--turn',
        type=float,
        default=24.,
        help='degrees a second that the 3D view turns; 0 keeps still')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Run; 0 if everything was done."""
    args = parse_args(argv)
    keep_freed_memory()
    try:
        config = Config.fromfile(args.config)
        if args.cfg_options:
            config.merge_from_dict(args.cfg_options)
        inferencer = PoseSequenceInferencer(
            config, args.checkpoint, args.device, batch_size=args.batch_size)
        tracks = inferencer(
            args.input,
            args.image_size,
            layout=args.layout,
            min_frames=args.min_frames,
            max_gap=args.max_gap,
            axes=args.axes,
            frame_step=args.frame_step,
            window_step=args.window_step,
            score_threshold=args.score_threshold,
            show_progress=True)
        files = write_pose_files(
            tracks,
            args.out_dir,
            Path(args.input).stem,
            video=None if args.video == 'none' else args.video,
            fps=args.fps,
            turn=args.turn,
            show_progress=True)
    except (OSError, ValueError, pickle.UnpicklingError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    num_tracks = len(list(tracks.tracks()))
    print(f'{len(tracks)} poses of {num_tracks} '
          f'{"track" if num_tracks == 1 else "tracks"}: '
          f'{", ".join(map(str, files))}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
