# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Pictures of how much networks suffer from a square before the person.

Pictures are (H, W, 3) uint8 in BGR order, errors in mm.
"""
from typing import Optional, Sequence, Tuple

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

__all__ = ['draw_error_maps', 'draw_joint_bars', 'draw_joint_maps']

_INK, _SOFT, _GRID = '#22303c', '#6b7a88', '#e3e8ec'
_BARS = ('#9fb4c4', '#e2632a', '#3b7ea1', '#7c9a4e', '#8b6bb1', '#c9a227')
# Whatever the reader's own settings are.
_STYLE = {
    'font.family': 'DejaVu Sans',
    'font.size': 8,
    'axes.titlesize': 9,
    'text.color': _INK,
    'axes.labelcolor': _INK,
    'xtick.color': _SOFT,
    'ytick.color': _SOFT
}
# Cold to warm.
_HEAT = LinearSegmentedColormap.from_list(
    'error',
    ['#1d3f72', '#3f8fb0', '#d8e3b4', '#f5a65b', '#d8412b', '#7c1414'])
_OPACITY = .6


@matplotlib.rc_context(_STYLE)
def draw_error_maps(crops: np.ndarray,
                    maps: np.ndarray,
                    clean: np.ndarray,
                    places: np.ndarray,
                    names: Sequence[str],
                    titles: Optional[Sequence[str]] = None) -> np.ndarray:
    """One row a person: the crop, and over it the MPJPE of each network.

    A place is as warm as the error with the square there is high; between
    the middles of the squares colours blend. A person's maps share one scale.

    Args:
        crops (np.ndarray): (N, H, W, 3) uint8 BGR.
        maps (np.ndarray): (M, N, rows, columns), mm.
        clean (np.ndarray): Error without a square, (M, N), mm.
        places (np.ndarray): See ``occluder_places``, (rows, columns, 4).
        names (Sequence[str]): M networks.
        titles (Sequence[str], optional): Of the people.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.
    """
    people, networks = len(crops), len(names)
    side = 2.1
    figure, panels = _panels(people, networks + 1, side, right=.75, row_gap=.3)
    for n, crop in enumerate(crops):
        low, high = _limits(maps[:, n])
        _show(panels[n][0], _ground(crop, places[0, 0]))
        panels[n][0].set_title(titles[n] if titles else '')
        for m, name in enumerate(names):
            panel = panels[n][m + 1]
            picture = _heat(crop, maps[m, n], places, low, high)
            _show(panel, picture)
            panel.set_title(name if n == 0 else '')
            panel.set_xlabel(
                f'{clean[m, n]:.0f} mm, with square '
                f'{maps[m, n].mean():.0f}, at most {maps[m, n].max():.0f}',
                fontsize=7)
        _scale(figure, panels[n][-1], low, high)
    return _render(figure)


@matplotlib.rc_context(_STYLE)
def draw_joint_maps(crop: np.ndarray,
                    maps: np.ndarray,
                    places: np.ndarray,
                    names: Sequence[str],
                    joint_names: Sequence[str],
                    title: str = '') -> np.ndarray:
    """One person: a map for each joint, one block of rows a network.

    The maps of a joint share one scale; the numbers above a map are its
    lowest and highest error.

    Args:
        crop (np.ndarray): (H, W, 3) uint8 BGR.
        maps (np.ndarray): (M, rows, columns, K), mm.
        places (np.ndarray): See ``occluder_places``, (rows, columns, 4).
        names (Sequence[str]): M networks.
        joint_names (Sequence[str]): K names.
        title (str): Above all.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.
    """
    columns = 7
    rows = -(-len(joint_names) // columns)
    figure, panels = _panels(
        rows * len(names), columns, 1.35, top=.62, row_gap=.24, block=rows)
    inch = 1 / figure.get_figheight()
    figure.text(
        .1 / figure.get_figwidth(),
        1 - .1 * inch,
        f'{title}: error of each joint in mm, lowest to highest',
        va='top',
        fontsize=9.5)
    for m, name in enumerate(names):
        box = panels[m * rows][0].get_position()
        figure.text(box.x0, box.y1 + .19 * inch, name, weight='bold')
        for k in range(rows * columns):
            panel = panels[m * rows + k // columns][k % columns]
            if k >= len(joint_names):
                panel.set_axis_off()
                continue
            low, high = _limits(maps[..., k])
            heat = maps[m, ..., k]
            _show(panel, _heat(crop, heat, places, low, high))
            numbers = f'{heat.min():.0f} to {heat.max():.0f}' \
                if np.isfinite(heat).all() else 'not known'
            panel.set_title(
                f'{_spoken(joint_names[k])}  {numbers}', fontsize=7, pad=2)
    return _render(figure)


@matplotlib.rc_context(_STYLE)
def draw_joint_bars(occluded: np.ndarray, clean: np.ndarray,
                    names: Sequence[str],
                    joint_names: Sequence[str]) -> np.ndarray:
    """Mean error of each joint over people and places (Fig. 4 of the paper).

    Args:
        occluded (np.ndarray): With the square, (M, K), mm.
        clean (np.ndarray): Without it, (M, K), mm: a line across the bar.
        names (Sequence[str]): M networks.
        joint_names (Sequence[str]): K names.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.
    """
    figure = Figure((9.2, 3.4), dpi=130, facecolor='white')
    FigureCanvasAgg(figure)
    axes = figure.add_axes((.065, .26, .925, .62))
    width = .8 / len(names)
    at = np.arange(len(joint_names) + 1)
    for m, name in enumerate(names):
        # the mean over joints last
        bars, lines = (
            np.append(values[m], np.nanmean(values[m]))
            for values in (occluded, clean))
        left = at + (m - (len(names) - 1) / 2) * width
        axes.bar(
            left,
            bars,
            width * .92,
            color=_BARS[m % len(_BARS)],
            label=f'{name} ({bars[-1]:.0f} mm)')
        axes.hlines(
            lines,
            left - .46 * width,
            left + .46 * width,
            color=_INK,
            linewidth=1.1,
            label='without square' if m == len(names) - 1 else None)
    axes.axvline(at[-1] - .5, color=_GRID)
    axes.set_xticks(at, [*map(_spoken, joint_names), 'mean'])
    axes.tick_params(axis='x', rotation=35, length=0)
    for label in axes.get_xticklabels():
        label.set_ha('right')
        label.set_rotation_mode('anchor')
    axes.set_xlim(-.6, at[-1] + .6)
    axes.set_ylabel('mean error with a square, mm')
    axes.grid(axis='y', color=_GRID)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.legend(
        loc='lower left',
        bbox_to_anchor=(-.005, 1.),
        ncols=len(names) + 1,
        frameon=False,
        fontsize=8.5)
    return _render(figure)


# --------------------------------- pieces -----------------------------------
def _heat(crop: np.ndarray, values: np.ndarray, places: np.ndarray, low: float,
          high: float) -> np.ndarray:
    """The crop without colours, under the errors: (H, W, 3) uint8 RGB."""
    height, width = crop.shape[:2]
    grey = np.repeat(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[..., None], 3, 2)
    if not np.isfinite(values).all():
        return grey
    # Values lie at the middles of squares; outermost ones reach to the edge.
    middle = (places[..., :2] + places[..., 2:]) / 2
    x, y = middle[0, :, 0] * width, middle[:, 0, 1] * height
    by_row = np.stack([np.interp(np.arange(width) + .5, x, v) for v in values])
    blended = np.stack(
        [np.interp(np.arange(height) + .5, y, v) for v in by_row.T], 1)
    colour = 255 * _HEAT((blended - low) / max(high - low, 1e-6))[..., :3]
    return np.uint8((1 - _OPACITY) * grey + _OPACITY * colour)


def _ground(crop: np.ndarray, square: np.ndarray) -> np.ndarray:
    """The crop with the square in its corner: (H, W, 3) uint8 RGB."""
    height, width = crop.shape[:2]
    picture = np.ascontiguousarray(crop[..., ::-1])
    left, top, right, bottom = np.round(
        square * [width, height, width, height]).astype(int)
    picture[top:bottom, left:right] = 124, 116, 104
    return picture


def _limits(values: np.ndarray) -> Tuple[float, float]:
    """Ends of the scale; it spans no less than 20 mm, or noise would glow."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0., 20.
    low, high = float(finite.min()), float(finite.max())
    return low, max(high, low + 20)


def _panels(rows: int,
            columns: int,
            side: float,
            right: float = .1,
            top: float = .3,
            row_gap: float = .1,
            block: int = 0) -> Tuple[Figure, list]:
    """A figure of square panels, sizes in inches; more room after each block
    of rows."""
    gap, left, bottom, block_gap = .06, .1, .25, .25

    def above(row):  # from the top of the first row
        more = block_gap * (row // block) if block else 0.
        return row * (side + row_gap) + more

    width = left + columns * (side + gap) + right
    height = top + above(rows - 1) + side + bottom
    figure = Figure((width, height), dpi=130, facecolor='white')
    FigureCanvasAgg(figure)
    panels = [[
        figure.add_axes(((left + c * (side + gap)) / width,
                         1 - (top + above(r) + side) / height, side / width,
                         side / height)) for c in range(columns)
    ] for r in range(rows)]
    for panel in figure.axes:
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
    return figure, panels


def _show(panel, picture: np.ndarray) -> None:
    panel.imshow(picture, interpolation='lanczos')


def _scale(figure: Figure, panel, low: float, high: float) -> None:
    """A scale of the colours beside a panel."""
    box = panel.get_position()
    inch = 1 / figure.get_figwidth()
    axes = figure.add_axes((box.x1 + .1 * inch, box.y0, .1 * inch, box.height))
    ramp = _HEAT(np.linspace(1, 0, 128))[:, None, :3]
    grey = (1 - _OPACITY) * .6  # as over a picture of middle brightness
    axes.imshow(
        grey + _OPACITY * ramp, extent=(0, 1, low, high), aspect='auto')
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position('right')
    axes.tick_params(length=2, labelsize=7)
    axes.set_ylabel('mm', fontsize=7)
    axes.spines[:].set_visible(False)


def _spoken(name: str) -> str:
    """``'left_elbow'`` -> ``'left elbow'``."""
    return name.replace('_', ' ')


def _render(figure: Figure) -> np.ndarray:
    """(H, W, 3) uint8 BGR."""
    figure.canvas.draw()
    rgba = np.asarray(figure.canvas.buffer_rgba())
    return np.ascontiguousarray(rgba[..., 2::-1])
