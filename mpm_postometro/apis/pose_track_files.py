# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What is written of lifted and completed poses."""
import re
import time
from functools import partial
from pathlib import Path
from typing import List, Optional, Union

from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.visualization import (PosePanel2D, PosePanel3D,
                                          SkeletonVideo, write_video)
from .pose_tracks import PoseTracks
from .progress import ProgressLine, format_seconds

__all__ = ['draw_track', 'write_pose_files']


def draw_track(track: PoseTracks,
               *,
               fps: float = 30.,
               turn: float = 24.,
               size: int = 480) -> SkeletonVideo:
    """Pictures of one track: what came in, and the 3D poses.

    Args:
        track (PoseTracks): Of one person.
        fps (float): Frames a second, for the speed of the turn.
        turn (float): Degrees a second; 0 looks from one side.
        size (int): Width and height of each of the two panels, pixels.

    Returns:
        SkeletonVideo: A sequence of pictures.

    Raises:
        ValueError: If ``fps`` is not positive.
    """
    _check_fps(fps)
    skeleton = next(s for s in SKELETONS.values()
                    if s.joint_names == track.joint_names)
    space = partial(
        PosePanel3D,
        track.keypoints_3d,
        skeleton,
        axes=track.axes,
        hidden=track.hidden,
        turn=turn / fps)
    if track.keypoints_2d is None:
        panels = [
            space(show_hidden=False, title='3D input'),
            space(title='3D, completed')
        ]
    else:
        panels = [
            PosePanel2D(
                track.keypoints_2d,
                skeleton,
                hidden=track.hidden,
                image_size=track.image_size),
            space(title='3D, lifted')
        ]
    return SkeletonVideo(
        panels,
        size,
        track.frame_indices,
        note='not seen' if track.hidden.any() else '')


def write_pose_files(tracks: PoseTracks,
                     out_dir: Union[str, Path],
                     stem: str,
                     *,
                     video: Optional[str] = None,
                     fps: float = 30.,
                     turn: float = 24.,
                     show_progress: bool = False) -> List[Path]:
    """Write poses and, if wanted, a film of each track.

    Args:
        tracks (PoseTracks): The poses.
        out_dir (str | Path): Folder; made if missing.
        stem (str): Beginning of the names: ``STEM_3d.npz`` and
            ``STEM_3d.mp4``, with the names of tracks where there are several.
        video (str, optional): 'gif' or 'mp4'.
        fps (float): Of the video.
        turn (float): See :func:`draw_track`.
        show_progress (bool): Show how far it is.

    Returns:
        list[Path]: The files.

    Raises:
        ValueError: If ``fps`` is not positive. Nothing is written then.
    """
    _check_fps(fps)
    out_dir = Path(out_dir)
    files = [tracks.save(out_dir / f'{stem}_3d.npz')]
    every = list(tracks.tracks()) if video else []
    line = ProgressLine() if show_progress else None
    start, written = time.monotonic(), 0

    def progress(done: int, total: int) -> None:
        if line is not None:
            line.update('drawing', done / total,
                        f'film {len(files)}/{len(every)}, {done}/{total}')

    for track in every:
        name = stem
        if len(every) > 1:
            label = re.sub(r'[^\w.-]+', '_', str(track.track_ids[0]))
            name = f'{stem}_{label or "unnamed"}'
        frames = draw_track(track, fps=fps, turn=turn)
        files.append(
            write_video(out_dir / f'{name}_3d.{video}', frames, fps, progress))
        written += len(frames)
    if line is not None and every:
        spent = time.monotonic() - start
        line.say(f'{written} frames drawn in {format_seconds(spent)}, '
                 f'{written / spent:.0f} frames/s')
    return files


def _check_fps(fps: float) -> None:
    if not 0 < fps < float('inf'):
        raise ValueError(f'fps must be positive, got {fps}')
