# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Moving skeletons: 2D poses as they came, 3D poses on a floor, and files of
them. Pictures are (H, W, 3) uint8 BGR."""
from functools import lru_cache
from pathlib import Path
from typing import (Callable, List, NamedTuple, Optional, Protocol, Sequence,
                    Tuple, Union)

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from mpm_postometro.bodies.axes import turn_axes
from mpm_postometro.bodies.skeletons import SKELETONS, Skeleton
from mpm_postometro.files import atomic_write

__all__ = [
    'Panel', 'PosePanel2D', 'PosePanel3D', 'SkeletonVideo', 'VIDEO_FORMATS',
    'write_video'
]

VIDEO_FORMATS = ('gif', 'mp4')

# BGR. Orange and blue differ for all eyes.
_LEFT, _RIGHT, _MIDDLE = (226, 118, 44), (34, 112, 238), (92, 76, 66)
_PAPER, _OUTSIDE, _LINE = (252, 250, 249), (238, 234, 231), (214, 207, 202)
_TEXT, _SHADOW = (92, 76, 66), (206, 199, 194)
_SUPERSAMPLE = 2
_SHIFT = 4  # binary digits behind the point that cv2 takes
_HEAD = 30  # pixels above a panel, for its title
_FOOT = 26  # pixels below all panels
_FADED = .6  # of what was hidden
_MAX_GIF_FPS = 50  # viewers play what is quicker at 10 fps


def _colors(skeleton: Skeleton) -> List[Tuple[int, int, int]]:
    sides = dict(left=_LEFT, right=_RIGHT)
    return [sides.get(n.split('_')[0], _MIDDLE) for n in skeleton.joint_names]


def _mix(color, other, share: float) -> Tuple[float, ...]:
    """``color`` with a share of ``other``."""
    return tuple(float(a + (b - a) * share) for a, b in zip(color, other))


def _fixed(point) -> Tuple[int, int]:
    """To what cv2 takes with ``_SHIFT``."""
    return (int(round(float(point[0]) * (1 << _SHIFT))),
            int(round(float(point[1]) * (1 << _SHIFT))))


def _line(canvas, start, end, color, width) -> None:
    cv2.line(canvas, _fixed(start), _fixed(end), color,
             max(int(round(width)), 1), cv2.LINE_AA, _SHIFT)


def _disc(canvas, center, radius, color) -> None:
    cv2.circle(canvas, _fixed(center), int(round(radius * (1 << _SHIFT))),
               color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


class _Bones(NamedTuple):
    """Where a skeleton is on a canvas.

    Attributes:
        xy: (J, 2), pixels.
        depth: (J, ), farther is more; any unit.
        width: (J, ), of a bone there, pixels.
        fade: (J, ), how much paper is in the colour there.
    """
    xy: np.ndarray
    depth: np.ndarray
    width: np.ndarray
    fade: np.ndarray


def _draw_bones(canvas: np.ndarray, bones: _Bones, skeleton: Skeleton,
                hidden: np.ndarray, shown: np.ndarray) -> None:
    """Far bones first; each with an edge, so that crossings are clear."""
    colors = _colors(skeleton)
    fades = np.where(hidden, _FADED, bones.fade)
    links = [x for x in skeleton.links if shown[list(x)].all()]
    links.sort(key=lambda link: -bones.depth[list(link)].sum())
    for parent, child in links:
        side = child if colors[child] != _MIDDLE else parent
        # A bone is as pale as its paler end.
        fade = fades[[parent, child]].max()
        ends = bones.xy[parent], bones.xy[child]
        width = bones.width[[parent, child]].mean()
        _line(canvas, *ends, _PAPER, width * 1.7)
        _line(canvas, *ends, _mix(colors[side], _PAPER, fade), width)
    for joint in np.argsort(-bones.depth, kind='stable'):
        if not shown[joint]:
            continue
        color = _mix(colors[joint], _PAPER, fades[joint])
        radius = bones.width[joint] * .78
        _disc(canvas, bones.xy[joint], radius * 1.35, _PAPER)
        _disc(canvas, bones.xy[joint], radius, color)
        if hidden[joint]:  # a ring
            _disc(canvas, bones.xy[joint], radius * .56, _PAPER)


class Panel(Protocol):
    """A part of the picture that moves."""

    title: str

    def __len__(self) -> int:
        """Number of frames."""

    def draw(self, index: int, size: int) -> np.ndarray:
        """Frame ``index``, ``size`` pixels wide and high."""


class PosePanel2D:
    """A person as the detector saw it. The view is as large as the person's
    way and does not move.

    Args:
        keypoints (np.ndarray): (N, J, 2), pixels; NaN is not drawn.
        skeleton (str | Skeleton): Joints.
        hidden (np.ndarray, optional): (N, J) bool, drawn pale.
        image_size (tuple[int, int], optional): Width and height, pixels; what
            lies outside of the picture is darker.
        title (str): Above.
    """

    def __init__(self,
                 keypoints: np.ndarray,
                 skeleton: Union[str, Skeleton] = 'h36m17',
                 *,
                 hidden: Optional[np.ndarray] = None,
                 image_size: Optional[Tuple[int, int]] = None,
                 title: str = '2D input') -> None:
        self.skeleton, self.keypoints = _checked(skeleton, keypoints, 2)
        self.hidden = _mask(hidden, self.keypoints)
        self.image_size = image_size
        self.title = title
        seen = self.keypoints[~self.hidden
                              & np.isfinite(self.keypoints).all(-1)]
        if not len(seen):
            seen = np.zeros((1, 2))
        low, high = np.percentile(seen, (.5, 99.5), axis=0)
        self._middle = (low + high) / 2
        self._extent = max(float((high - low).max()) * 1.2, 1e-6)

    def __len__(self) -> int:
        return len(self.keypoints)

    def draw(self, index: int, size: int) -> np.ndarray:
        """See :class:`Panel`."""
        scale = size / self._extent
        canvas = _plain(size, _PAPER).copy()
        if self.image_size is not None:
            corners = (np.array([[0, 0], self.image_size]) - self._middle -
                       .5) * scale + size / 2
            (x0, y0), (x1, y1) = corners.clip(0, size).round().astype(int)
            inside = canvas[y0:y1, x0:x1]
            canvas = _plain(size, _OUTSIDE).copy()
            canvas[y0:y1, x0:x1] = inside
        pose = self.keypoints[index]
        shown = np.isfinite(pose).all(-1)
        xy = (np.where(shown[:, None], pose, 0) -
              self._middle) * scale + size / 2
        joints = len(xy)
        _draw_bones(
            canvas,
            _Bones(xy, np.zeros(joints), np.full(joints, size * .0115),
                   np.zeros(joints)), self.skeleton, self.hidden[index], shown)
        return canvas


class PosePanel3D:
    """A person on a floor with squares of half a metre, and a shadow.

    The view follows the person and turns. Where the root stands still at the
    origin, as in lifted poses, the floor is under the lowest joint;
    otherwise it is under the lowest of the whole way.

    Args:
        keypoints (np.ndarray): (N, J, 3), metres; NaN is not drawn.
        skeleton (str | Skeleton): Joints.
        axes (str): See :func:`mpm_postometro.bodies.axes.turn_axes`.
        hidden (np.ndarray, optional): (N, J) bool, drawn pale, with rings.
        show_hidden (bool): False draws nothing of what is hidden.
        azimuth (float): From where it is seen, degrees: 0 is from the
            camera, 90 from its right.
        elevation (float): Degrees above the floor.
        turn (float): Degrees from one frame to the next.
        title (str): Above.
    """

    def __init__(self,
                 keypoints: np.ndarray,
                 skeleton: Union[str, Skeleton] = 'h36m17',
                 *,
                 axes: str = 'camera',
                 hidden: Optional[np.ndarray] = None,
                 show_hidden: bool = True,
                 azimuth: float = 30.,
                 elevation: float = 14.,
                 turn: float = 0.,
                 title: str = '3D') -> None:
        self.skeleton, keypoints = _checked(skeleton, keypoints, 3)
        self.keypoints = turn_axes(keypoints, axes, 'z-up').astype(np.float64)
        self.hidden = _mask(hidden, self.keypoints)
        self.show_hidden = show_hidden
        self.azimuth, self.elevation, self.turn = azimuth, elevation, turn
        self.title = title
        root = self.keypoints[:, 0]
        with np.errstate(invalid='ignore'):
            lowest = np.nanmin(self.keypoints[..., 2], 1)
            above = np.nanmax(self.keypoints[..., 2], 1) - lowest
            around = np.linalg.norm(self.keypoints - root[:, None], axis=-1)
        if np.ptp(root, 0).max() < 1e-6:
            # As if the feet stood on it, without trembling along.
            self._floor = gaussian_filter1d(
                minimum_filter1d(lowest, 9, mode='nearest'), 4, mode='nearest')
        else:
            self._floor = np.full(len(lowest), np.percentile(lowest, 2))
        self._target = gaussian_filter1d(root, 6, axis=0, mode='nearest')
        self._height = float(np.percentile(above, 98))
        self._metres = max(self._height,
                           1.6 * float(np.nanpercentile(around, 99)), .5) * 1.3

    def __len__(self) -> int:
        return len(self.keypoints)

    def draw(self, index: int, size: int) -> np.ndarray:
        """See :class:`Panel`."""
        floor = self._floor[index]
        middle = np.append(self._target[index, :2], floor + self._height * .48)
        azimuth = np.radians(self.azimuth + self.turn * index)
        elevation = np.radians(self.elevation)
        back = np.array([
            np.cos(elevation) * np.sin(azimuth),
            -np.cos(elevation) * np.cos(azimuth),
            np.sin(elevation)
        ])
        right = np.array([np.cos(azimuth), np.sin(azimuth), 0])
        view = np.stack([right, np.cross(-back, right), -back])
        distance = 2.4 * self._metres
        focal = distance * size / self._metres

        def project(points: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
            turned = (points - middle) @ view.T
            depth = turned[..., 2] + distance
            return (turned[..., :2] * (focal / depth)[..., None] +
                    size / 2), depth

        canvas = _plain(size, _PAPER).copy()
        self._draw_floor(canvas, project, middle[:2], floor)
        pose = self.keypoints[index]
        shown = np.isfinite(pose).all(-1)
        if not self.show_hidden:
            shown &= ~self.hidden[index]
        pose = np.where(shown[:, None], pose, middle)
        xy, depth = project(pose)
        width = .028 * focal / depth * max(self._height, 1.) / 1.7
        self._draw_shadow(canvas, project, pose, floor, width, shown)
        far = (depth - distance) / self._metres
        fade = (far + .1).clip(0, .35)
        _draw_bones(canvas, _Bones(xy, depth, width, fade), self.skeleton,
                    self.hidden[index], shown)
        return canvas

    def _draw_floor(self, canvas, project, center, floor) -> None:
        """Lines that fade into the paper around the person."""
        step, reach = .5, .6 * self._metres
        start = np.floor((center - reach) / step)
        count = int(np.ceil(2 * reach / step)) + 2
        ticks = (start[:, None] + np.arange(count)) * step  # (2, count)
        x, y = np.meshgrid(ticks[0], ticks[1], indexing='ij')
        nodes = np.stack([x, y, np.full_like(x, floor)], -1)
        xy, _ = project(nodes)
        away = np.linalg.norm(nodes[..., :2] - center, axis=-1) / reach
        for a, b, far in ((xy[:-1], xy[1:], (away[:-1] + away[1:]) / 2),
                          (xy[:, :-1], xy[:, 1:],
                           (away[:, :-1] + away[:, 1:]) / 2)):
            seen = far < 1
            for start_xy, end_xy, share in zip(a[seen], b[seen], far[seen]):
                _line(canvas, start_xy, end_xy, _mix(_LINE, _PAPER, share**2),
                      len(canvas) * .0022)

    def _draw_shadow(self, canvas, project, pose, floor, width, shown) -> None:
        flat = pose.copy()
        flat[:, 2] = floor
        xy, _ = project(flat)
        for parent, child in self.skeleton.links:
            if shown[parent] and shown[child]:
                _line(canvas, xy[parent], xy[child], _SHADOW,
                      width[[parent, child]].mean() * 1.1)


class SkeletonVideo:
    """Panels side by side, with their titles and what the colours mean; a
    sequence of pictures.

    Args:
        panels (Sequence[Panel]): All of the same number of frames.
        size (int): Width and height of a panel, pixels.
        frame_numbers (Sequence[int], optional): Written below.
        note (str): What rings mean, if there are any.

    Raises:
        ValueError: If the panels have different numbers of frames.
    """

    def __init__(self,
                 panels: Sequence[Panel],
                 size: int = 480,
                 frame_numbers: Optional[Sequence[int]] = None,
                 note: str = '') -> None:
        if len({len(panel) for panel in panels}) != 1:
            raise ValueError('panels should have the same number of frames, '
                             f'got {[len(p) for p in panels]}')
        self.panels = list(panels)
        self.size = size + size % 2  # encoders want even numbers
        self.frame_numbers = frame_numbers
        self._frame = self._draw_frame(note)

    def __len__(self) -> int:
        return len(self.panels[0])

    def __getitem__(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 BGR."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        picture = self._frame.copy()
        for k, panel in enumerate(self.panels):
            drawn = panel.draw(index, _SUPERSAMPLE * self.size)
            picture[_HEAD:_HEAD + self.size,
                    k * self.size:(k + 1) * self.size] = cv2.resize(
                        drawn, (self.size, self.size),
                        interpolation=cv2.INTER_AREA)
        if self.frame_numbers is not None:
            text = _text(f'frame {self.frame_numbers[index]}')
            picture[-_FOOT:, -text.shape[1] - 12:-12] = text
        return picture

    def _draw_frame(self, note: str) -> np.ndarray:
        """All that does not move."""
        width = self.size * len(self.panels)
        picture = np.empty((_HEAD + self.size + _FOOT, width, 3), np.uint8)
        picture[:] = _PAPER
        for k, panel in enumerate(self.panels):
            text = _text(panel.title, _HEAD)
            text = text[:, :self.size - 12]
            picture[:_HEAD, k * self.size + 12:k * self.size + 12 +
                    text.shape[1]] = text
        x = 12
        entries = [('left', _LEFT, False), ('right', _RIGHT, False)]
        entries += [(note, _MIDDLE, True)] if note else []
        for name, color, ring in entries:
            text = _text(name)
            if x + 16 + text.shape[1] > width - 90:
                break
            center = (x + 5, picture.shape[0] - _FOOT // 2)
            _disc(picture, center, 5, color)
            if ring:
                _disc(picture, center, 2.6, _PAPER)
            picture[-_FOOT:, x + 16:x + 16 + text.shape[1]] = text
            x += 16 + text.shape[1] + 16
        return picture


@lru_cache(maxsize=8)
def _plain(size: int, color: Tuple[int, int, int]) -> np.ndarray:
    """A square of one colour; copies of it are quicker than filling."""
    return np.full((size, size, 3), color, np.uint8)


@lru_cache(maxsize=1024)
def _text(text: str, height: int = _FOOT) -> np.ndarray:
    """A line of text on paper, (height, W, 3)."""
    font = ImageFont.load_default(size=height * .52)
    width = int(np.ceil(font.getlength(text))) + 1
    picture = Image.new('RGB', (width, height), _PAPER)
    ImageDraw.Draw(picture).text((0, height / 2),
                                 text,
                                 fill=_TEXT,
                                 font=font,
                                 anchor='lm')
    return np.asarray(picture)  # all colours are BGR


def write_video(path: Union[str, Path],
                frames: Sequence[np.ndarray],
                fps: float = 30.,
                progress: Optional[Callable[[int, int], None]] = None) -> Path:
    """Write pictures as a film, atomically.

    Args:
        path (str | Path): Ends in ``.gif`` (Pillow; frames are left out above
            50 a second) or ``.mp4`` (OpenCV, MPEG-4).
        frames (Sequence[np.ndarray]): (H, W, 3) uint8 BGR; each is asked for
            once.
        fps (float): Frames a second.
        progress (Callable, optional): Gets the number of frames that are
            done and of all.

    Returns:
        Path: The file.

    Raises:
        ValueError: If the name ends in something else, there are no frames,
            or the film cannot be written.
    """
    path = Path(path)
    writers = dict(gif=_write_gif, mp4=_write_mp4)
    kind = path.suffix[1:].lower()
    if kind not in writers:
        raise ValueError(f'{path}: films are written as '
                         f'{" or ".join(VIDEO_FORMATS)}, not {path.suffix!r}')
    if not len(frames):
        raise ValueError(f'{path}: a film needs frames')
    if not fps > 0:
        raise ValueError(f'fps must be positive, got {fps}')
    return atomic_write(
        path, lambda name: writers[kind]
        (name, frames, fps, progress or (lambda done, total: None)))


def _write_gif(name: str, frames, fps: float, progress) -> None:
    every = int(np.ceil(fps / _MAX_GIF_FPS - 1e-9))
    numbers = range(0, len(frames), every)
    # Hundredths of a second, rounded so that they do not add up.
    times = (np.arange(len(numbers) + 1) * every * 100 / fps).round()
    # One palette: colours do not flicker, and files are smaller.
    samples = [frames[i] for i in sorted({0, len(frames) // 2})]
    palette = _image(np.concatenate(samples)).quantize(128)

    def pictures():
        for done, i in enumerate(numbers):
            yield _image(frames[i]).quantize(
                palette=palette, dither=Image.Dither.NONE)
            progress(done + 1, len(numbers))

    rest = pictures()
    next(rest).save(
        name,
        format='GIF',
        save_all=True,
        append_images=rest,
        duration=(np.diff(times) * 10).astype(int).tolist(),
        loop=0)


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))


def _write_mp4(name: str, frames, fps: float, progress) -> None:
    first = frames[0]
    height, width = first.shape[:2]
    writer = cv2.VideoWriter(name, cv2.VideoWriter_fourcc(*'mp4v'), fps,
                             (width, height))
    if not writer.isOpened():
        raise ValueError(f'{name}: OpenCV cannot write .mp4 here; use .gif')
    try:
        for i in range(len(frames)):
            writer.write(first if i == 0 else frames[i])
            progress(i + 1, len(frames))
    finally:
        writer.release()


def _checked(skeleton, keypoints, dims: int) -> Tuple[Skeleton, np.ndarray]:
    skeleton = SKELETONS.get(skeleton, skeleton)
    keypoints = np.asarray(keypoints)
    if not isinstance(skeleton, Skeleton):
        raise ValueError(f"unknown skeleton '{skeleton}', expected one of "
                         f'{sorted(SKELETONS)}')
    if keypoints.shape[1:] != (skeleton.num_joints,
                               dims) or not len(keypoints):
        raise ValueError(f'keypoints of {skeleton.name} must be (N, '
                         f'{skeleton.num_joints}, {dims}), got '
                         f'{keypoints.shape}')
    return skeleton, keypoints


def _mask(hidden, keypoints: np.ndarray) -> np.ndarray:
    if hidden is None:
        return np.zeros(keypoints.shape[:2], bool)
    if np.shape(hidden) != keypoints.shape[:2]:
        raise ValueError(f'hidden must be {keypoints.shape[:2]}, got '
                         f'{np.shape(hidden)}')
    return np.asarray(hidden, bool)
