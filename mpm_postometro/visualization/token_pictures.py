# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What the tokens of a pose do, and how a codebook is used.

Pictures are (H, W, 3) uint8 in BGR order.
"""
from typing import Callable, NamedTuple, Optional, Sequence, Tuple

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .overlay import PALETTE

__all__ = [
    'CodebookUsage', 'TokenEffects', 'codebook_usage', 'draw_codebook_usage',
    'draw_poses', 'draw_token_effects', 'draw_token_influence',
    'frequent_codes', 'swap_codes'
]

_INK, _SOFT, _GRID = '#22303c', '#6b7a88', '#e3e8ec'
_MOVED, _POSE, _BAR = '#e2632a', '#22303c', '#3b7ea1'
# Whatever the reader's own settings are.
_STYLE = {
    'font.family': 'DejaVu Sans',
    'font.size': 8,
    'axes.titlesize': 9,
    'figure.titlesize': 10.5,
    'text.color': _INK,
    'axes.labelcolor': _INK,
    'xtick.color': _SOFT,
    'ytick.color': _SOFT
}
_HEAT = LinearSegmentedColormap.from_list(
    'influence', ['#ffffff', '#fde3cf', '#f5a66b', '#e2632a', '#7c2413'])


def draw_poses(image: np.ndarray, keypoints: np.ndarray,
               links: Sequence[Tuple[int, int]]) -> np.ndarray:
    """Draw the skeletons of people over their picture.

    Args:
        image (np.ndarray): (H, W, 3) uint8 BGR; stays as it is.
        keypoints (np.ndarray): (P, K, 2), pixels; joints that are not finite
            are left out.
        links (Sequence[tuple[int, int]]): Pairs of joints.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.
    """
    image = image.copy()
    for number, pose in enumerate(np.asarray(keypoints, dtype=np.float64)):
        color = PALETTE[number % len(PALETTE)].tolist()
        known = np.isfinite(pose).all(-1)
        if not known.any():
            continue
        extent = np.ptp(pose[known], axis=0).max()
        width = int(np.clip(extent / 90, 1, 8))
        # Drawn in eighths of a pixel; far outside it would overflow.
        points = np.rint(
            np.clip(np.where(known[:, None], pose, 0), -1e5, 1e5) *
            8).astype(int)
        for shade, extra in ((_darker(color), 2), (color, 0)):
            for a, b in links:
                if known[a] and known[b]:
                    cv2.line(image, points[a], points[b], shade, width + extra,
                             cv2.LINE_AA, 3)
        for point in points[known]:
            cv2.circle(image, point, (width + 2) * 8, _darker(color), -1,
                       cv2.LINE_AA, 3)
            cv2.circle(image, point, (width + 1) * 8, (255, 255, 255), -1,
                       cv2.LINE_AA, 3)
    return image


def _darker(color: Sequence[float]) -> list:
    return [.35 * value for value in color]


# ----------------------------- what tokens move -----------------------------
class TokenEffects(NamedTuple):
    """Poses that differ from one pose in the code of one token.

    Attributes:
        pose (np.ndarray): The pose as its codes give it, (K, C).
        swapped (np.ndarray): With another code in token n, for S other
            codes, (N, S, K, C).
    """
    pose: np.ndarray
    swapped: np.ndarray

    @property
    def influence(self) -> np.ndarray:
        """np.ndarray: How far each token moves each joint, mean over the
        other codes, (K, N), in the units of the pose."""
        moved = np.linalg.norm(self.swapped - self.pose, axis=-1)
        return moved.mean(1).T


def swap_codes(decode: Callable[[np.ndarray], np.ndarray], codes: np.ndarray,
               others: np.ndarray) -> TokenEffects:
    """Swap the code of one token at a time and decode.

    Args:
        decode (Callable): Codes (P, N) to poses (P, K, C).
        codes (np.ndarray): Of one pose, (N, ).
        others (np.ndarray): What to put in each token's place, (N, S).

    Returns:
        TokenEffects: Poses.

    Raises:
        ValueError: If the shapes do not fit.
    """
    codes, others = np.asarray(codes), np.asarray(others)
    if codes.ndim != 1 or others.ndim != 2 or len(others) != len(codes):
        raise ValueError('expected codes (N, ) and others (N, S), got '
                         f'{codes.shape} and {others.shape}')
    num_tokens, num_others = others.shape
    rows = np.tile(codes, (num_tokens, num_others, 1))
    tokens = np.arange(num_tokens)
    rows[tokens, :, tokens] = others
    poses = decode(np.concatenate([codes[None], rows.reshape(-1, num_tokens)]))
    return TokenEffects(
        poses[0], poses[1:].reshape(num_tokens, num_others, *poses.shape[1:]))


def frequent_codes(data_codes: np.ndarray, codes: np.ndarray,
                   num: int) -> np.ndarray:
    """The codes that data have most often in each token.

    Args:
        data_codes (np.ndarray): Of a data set, (P, N).
        codes (np.ndarray): Of the pose, (N, ); these are left out.
        num (int): How many for each token.

    Returns:
        np.ndarray: (N, num), most frequent first; where a token has fewer
        codes, its last (or the pose's own) is repeated.
    """
    others = np.empty((len(codes), num), np.int64)
    for token, own in enumerate(codes):
        column = data_codes[:, token]
        values, counts = np.unique(column[column != own], return_counts=True)
        best = values[np.argsort(-counts, kind='stable')][:num]
        if not len(best):
            best = np.array([own])
        others[token] = np.concatenate(
            [best, np.repeat(best[-1:], num - len(best))])
    return others


@matplotlib.rc_context(_STYLE)
def draw_token_effects(effects: TokenEffects,
                       links: Sequence[Tuple[int, int]],
                       joint_names: Sequence[str],
                       *,
                       unit: str = 'px',
                       title: str = '',
                       image: Optional[np.ndarray] = None,
                       columns: int = 9) -> np.ndarray:
    """One small picture for each token: the pose, and over it the poses with
    other codes in this token. Discs mark the joints that move at least half
    as far as the one that moves most; their area says how far.

    Args:
        effects (TokenEffects): Of one pose, y down. Of 3D poses x and y are
            drawn.
        links (Sequence[tuple[int, int]]): Pairs of joints.
        joint_names (Sequence[str]): K names.
        unit (str): Of the pose, such as 'px' or 'mm'.
        title (str): Above all.
        image (np.ndarray, optional): Picture under the poses, whose pixels
            their coordinates are, (H, W, 3) uint8 BGR.
        columns (int): Pictures in a row.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.
    """
    influence = effects.influence
    num_tokens = influence.shape[1]
    low, high = _window(effects, image)
    rows = -(-num_tokens // columns)
    width, height = 1.4, 1.4 * (high[1] - low[1]) / (high[0] - low[0])
    head, gap, top = .31, .06, .4  # inches
    size = (columns * (width + gap) + gap,
            rows * (height + head + gap) + gap + top)
    figure = _figure(size)
    figure.suptitle(title, x=gap / size[0], y=1 - .1 / size[1], ha='left')
    strongest = influence.max()
    for token in range(num_tokens):
        row, column = divmod(token, columns)
        left = gap + column * (width + gap)
        bottom = size[1] - top - (row + 1) * (height + head + gap) + gap
        axis = figure.add_axes((left / size[0], bottom / size[1],
                                width / size[0], height / size[1]))
        if image is not None:
            axis.imshow(image[..., ::-1], alpha=.6, interpolation='bilinear')
        axis.set_axis_off()
        axis.set_xlim(low[0], high[0])
        axis.set_ylim(high[1], low[1])
        axis.add_patch(
            Rectangle((0, 0),
                      1,
                      1,
                      transform=axis.transAxes,
                      facecolor='none',
                      edgecolor=_GRID,
                      lw=1.5))
        moved = influence[:, token]
        marked = moved >= max(moved.max() / 2, 1e-12)
        axis.scatter(
            *effects.pose[marked, :2].T,
            s=20 + 330 * moved[marked] / max(strongest, 1e-12),
            c=_MOVED,
            alpha=.25,
            linewidths=0,
            zorder=2)
        for pose in effects.swapped[token]:
            _draw_links(axis, pose, links, _MOVED, 1., .75, 3)
        _draw_links(axis, effects.pose, links, _POSE, 1.2, 1., 4)
        axis.text(
            0,
            1 + .05 / height,
            token,
            transform=axis.transAxes,
            va='bottom',
            weight='bold',
            fontsize=10)
        axis.text(
            1,
            1 + .05 / height,
            _strongest_joints(moved, joint_names, unit),
            transform=axis.transAxes,
            ha='right',
            va='bottom',
            fontsize=6.2,
            linespacing=1.05,
            color=_SOFT)
    return _render(figure)


@matplotlib.rc_context(_STYLE)
def draw_token_influence(influence: np.ndarray,
                         joint_names: Sequence[str],
                         *,
                         unit: str = 'px',
                         title: str = '') -> np.ndarray:
    """Heat map of how far each token moves each joint.

    Args:
        influence (np.ndarray): (K, N), see :class:`TokenEffects`; a mean
            over several poses is as good.
        joint_names (Sequence[str]): K names.
        unit (str): Of the influence.
        title (str): Above the map.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.
    """
    num_joints, num_tokens = influence.shape
    size = (1.9 + .24 * num_tokens, 1.1 + .22 * num_joints)
    figure = _figure(size)
    axis = figure.add_axes(
        (1.15 / size[0], .5 / size[1], (.24 * num_tokens) / size[0],
         (.22 * num_joints) / size[1]))
    shown = axis.imshow(influence, cmap=_HEAT, vmin=0, aspect='auto')
    axis.set_xticks(range(0, num_tokens, 1 if num_tokens <= 40 else 5))
    axis.set_yticks(range(num_joints), [_spoken(n) for n in joint_names])
    axis.set_xticks(np.arange(num_tokens + 1) - .5, minor=True)
    axis.set_yticks(np.arange(num_joints + 1) - .5, minor=True)
    axis.grid(which='minor', color='white', linewidth=1)
    axis.tick_params(which='both', length=0)
    axis.set_frame_on(False)
    axis.set_xlabel('token')
    bar = figure.colorbar(
        shown,
        cax=figure.add_axes(
            (1.27 / size[0] + .24 * num_tokens / size[0], .5 / size[1],
             .1 / size[0], .22 * num_joints / size[1])))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.ax.set_title(unit, color=_SOFT)
    figure.suptitle(title, x=.01, y=1 - .1 / size[1], ha='left')
    return _render(figure)


# ------------------------------- the codebook -------------------------------
class CodebookUsage(NamedTuple):
    """How the poses of a data set use a codebook.

    Attributes:
        counts (np.ndarray): How often each code was chosen, (V, ).
        used (float): Fraction of the codes that were chosen at all.
        perplexity (float): ``exp`` of the entropy of the counts, between 1
            and V: as many codes, chosen equally often, would tell as much.
        token_used (np.ndarray): Number of codes that each token has, (N, ).
        token_perplexity (np.ndarray): Perplexity of each token, (N, ).
    """
    counts: np.ndarray
    used: float
    perplexity: float
    token_used: np.ndarray
    token_perplexity: np.ndarray


def codebook_usage(codes: np.ndarray, num_codes: int) -> CodebookUsage:
    """Count codes.

    Args:
        codes (np.ndarray): Of a data set, (P, N), P > 0.
        num_codes (int): Size V of the codebook.

    Returns:
        CodebookUsage: Counts and what follows from them.

    Raises:
        ValueError: If the shape does not fit, or a code is not in [0, V).
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or not codes.size:
        raise ValueError('expected codes (P, N) of at least one pose, got '
                         f'{codes.shape}')
    if codes.min() < 0 or codes.max() >= num_codes:
        raise ValueError(f'codes should be in [0, {num_codes}), got '
                         f'{codes.min()} to {codes.max()}')
    counts = np.bincount(codes.ravel(), minlength=num_codes)
    by_token = [np.bincount(column, minlength=num_codes) for column in codes.T]
    return CodebookUsage(counts, float((counts > 0).mean()),
                         _perplexity(counts),
                         np.array([(c > 0).sum() for c in by_token]),
                         np.array([_perplexity(c) for c in by_token]))


def _perplexity(counts: np.ndarray) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


@matplotlib.rc_context(_STYLE)
def draw_codebook_usage(usage: CodebookUsage,
                        *,
                        title: str = '') -> np.ndarray:
    """Sorted counts of the codes, and the codes of each token.

    Args:
        usage (CodebookUsage): See :func:`codebook_usage`.
        title (str): Above the plots.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.
    """
    figure = _figure((9.6, 3.1))
    figure.suptitle(title, x=.012, y=.965, ha='left')
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(
        left=.045, right=.992, bottom=.14, top=.78, wspace=.11)

    counts = np.sort(usage.counts)[::-1]
    num_codes, num_used = len(counts), int((counts > 0).sum())
    ranks = np.arange(1, num_used + 1)
    left.fill_between(
        ranks, counts[:num_used], .8, step='mid', color=_BAR, alpha=.85, lw=0)
    left.set_yscale('log')
    left.set_xlim(.5, num_codes + .5)
    left.set_ylim(.8, counts[0] * 1.6)
    if num_used < num_codes:
        left.axvspan(num_used + .5, num_codes + .5, color=_GRID, lw=0)
        left.text(
            num_codes,
            1,
            f'{num_codes - num_used} never chosen ',
            ha='right',
            va='bottom',
            color=_SOFT)
    equal = counts.sum() / num_codes
    left.axhline(equal, color=_MOVED, lw=1, ls=(0, (4, 3)))
    left.text(
        num_codes, equal * 1.08, 'if all were equal ', ha='right', va='bottom',
        color=_MOVED)  # yapf: disable
    left.set_xlabel('codes, most frequent first')
    left.set_title(
        f'times chosen: {100 * usage.used:.3g} % of {num_codes} codes, '
        f'perplexity {usage.perplexity:.3g}')

    tokens = np.arange(len(usage.token_used))
    right.bar(tokens, usage.token_used, .82, color=_BAR, alpha=.35)
    right.bar(tokens, usage.token_perplexity, .82, color=_BAR)
    right.set_xlim(-.8, len(tokens) - .2)
    right.set_ylim(0, usage.token_used.max() * 1.05)
    right.set_xlabel('token')
    right.set_title('codes of each token: all (light), perplexity (dark)')
    for axis in (left, right):
        axis.grid(axis='y', color=_GRID, lw=.8)
        axis.set_axisbelow(True)
        axis.tick_params(which='both', length=0)
        for side in ('top', 'right', 'left'):
            axis.spines[side].set_visible(False)
        axis.spines['bottom'].set_color(_SOFT)
    return _render(figure)


# --------------------------------- drawing ---------------------------------
def _figure(size: Tuple[float, float]) -> Figure:
    """A figure of so many inches, without a window."""
    figure = Figure(size, dpi=130, facecolor='white')
    FigureCanvasAgg(figure)
    return figure


def _render(figure: Figure) -> np.ndarray:
    """(H, W, 3) uint8 BGR."""
    figure.canvas.draw()
    rgba = np.asarray(figure.canvas.buffer_rgba())
    return np.ascontiguousarray(rgba[..., 2::-1])


def _window(effects: TokenEffects,
            image: Optional[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
    """What all the small pictures show: corners (2, ), (2, )."""
    if image is not None:
        return np.zeros(2) - .5, np.array(image.shape[1::-1]) - .5
    points = np.concatenate(
        [effects.pose[None],
         effects.swapped.reshape(-1, *effects.pose.shape)])
    points = points[..., :2].reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    size = np.maximum(high - low, 1e-6) * 1.14
    # No narrower than two thirds of the height: room for names.
    size = np.maximum(size, [size[1] * 2 / 3, size[0] / 2])
    return (low + high - size) / 2, (low + high + size) / 2


def _draw_links(axis, pose, links, color, width, alpha, order) -> None:
    for a, b in links:
        axis.plot(
            pose[[a, b], 0],
            pose[[a, b], 1],
            color=color,
            lw=width,
            alpha=alpha,
            zorder=order,
            solid_capstyle='round')


def _spoken(joint_name: str) -> str:
    return joint_name.replace('_', ' ')


def _strongest_joints(moved: np.ndarray, joint_names: Sequence[str],
                      unit: str) -> str:
    """The two joints that move most, and how far."""
    order = np.argsort(-moved, kind='stable')[:2]
    lines = []
    for joint in order:
        name = _spoken(joint_names[joint])
        name = name.replace('left ', 'l. ').replace('right ', 'r. ')
        digits = 1 if moved[joint] < 10 else 0
        lines.append(f'{name} {moved[joint]:.{digits}f} {unit}')
    return '\n'.join(lines)
