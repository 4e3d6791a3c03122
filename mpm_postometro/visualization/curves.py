# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Line plots as inline SVG that takes its colours from the page."""
import html
import math
from dataclasses import dataclass
from typing import List, Mapping, Sequence, Tuple

import numpy as np

__all__ = ['Curve', 'curve_svg']

_WIDTH, _HEIGHT = 420, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 12, 34
_COLORS = 6  # --s0 ... --s5 of report.css
_MAX_POINTS = 300


@dataclass
class Curve:
    """A plot of one or more series.

    Attributes:
        title (str): Caption.
        series (Mapping[str, tuple]): Name -> (x, y), sequences of equal
            length. Points that are not finite are left out.
        x_label (str): What x is.
        y_label (str): What y is, with its unit.
        log_y (bool): Logarithmic y axis (positive values only).
        smooth (bool): Draw the running median of long noisy series strongly
            and the raw values faintly.
    """
    title: str
    series: Mapping[str, Tuple[Sequence[float], Sequence[float]]]
    x_label: str = ''
    y_label: str = ''
    log_y: bool = False
    smooth: bool = False


def _ticks(low: float, high: float, wanted: int = 5) -> List[float]:
    """Round numbers (1, 2 or 5 times a power of ten) within the limits."""
    step = 10**math.floor(math.log10((high - low) / wanted))
    for factor in (1, 2, 5, 10):
        if (high - low) / (step * factor) <= wanted:
            step *= factor
            break
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> List[float]:
    """1, 2 and 5 times powers of ten; limits are exponents."""
    choices = (1, 2, 5) if high - low < 2.2 else (1, )
    ticks = [
        math.log10(k) + e for e in range(math.floor(low),
                                         math.ceil(high) + 1) for k in choices
    ]
    inside = [t for t in ticks if low - 1e-9 <= t <= high + 1e-9]
    if len(inside) >= 2:
        return inside
    return [math.log10(v) for v in _ticks(10**low, 10**high, 4) if v > 0]


def _number(value: float) -> str:
    """Short label of a tick."""
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f'{value:.0e}'.replace('e-0', 'e-').replace('e+0', 'e')
    if abs(value) >= 1000 and value == round(value):
        return f'{value / 1000:g}k'
    return f'{value:.4g}'


def _thin(x: np.ndarray, y: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """At most about _MAX_POINTS points: the medians of equal pieces."""
    if len(x) <= _MAX_POINTS:
        return x, y
    pieces = np.array_split(np.arange(len(x)), _MAX_POINTS)
    return (np.array([x[p].mean() for p in pieces]),
            np.array([np.median(y[p]) for p in pieces]))


def _running_median(y: np.ndarray) -> np.ndarray:
    half = max(1, len(y) // 40)
    return np.array(
        [np.median(y[max(0, i - half):i + half + 1]) for i in range(len(y))])


def _series(curve: Curve) -> List[Tuple[str, np.ndarray, np.ndarray]]:
    """Finite points of each series; y already in log10 if asked for."""
    result = []
    for name, (x, y) in curve.series.items():
        x, y = (np.asarray(v, dtype=float).ravel() for v in (x, y))
        if len(x) != len(y):
            raise ValueError(f'curve {curve.title!r}: series {name!r} has '
                             f'{len(x)} x and {len(y)} y values')
        kept = np.isfinite(x) & np.isfinite(y)
        if curve.log_y:
            kept &= y > 0
        x, y = x[kept], y[kept]
        y = np.log10(y) if curve.log_y else y
        result.append((str(name), *_thin(x, y)))
    return result


def _limits(values: np.ndarray, pad: float) -> Tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9 * max(1., abs(high)):
        return low - .5, high + .5
    return low - pad * (high - low), high + pad * (high - low)


def curve_svg(curve: Curve) -> str:
    """Draw a plot.

    Args:
        curve (Curve): What to draw.

    Returns:
        str: A ``<figure>`` with caption, legend and ``<svg>``; it says so
        where there is nothing to draw. Colours come from the custom
        properties ``--s0`` to ``--s5`` of the page.

    Raises:
        ValueError: If x and y of a series differ in length.
    """
    title = html.escape(curve.title)
    series = _series(curve)
    drawn = [item for item in series if len(item[1])]
    if not drawn:
        return (f'<figure><figcaption>{title}</figcaption>'
                '<p class="note">No values were recorded.</p></figure>')
    x_low, x_high = _limits(np.concatenate([x for _, x, _ in drawn]), 0.)
    y_low, y_high = _limits(np.concatenate([y for _, _, y in drawn]), .05)

    def to_x(value):
        share = (value - x_low) / (x_high - x_low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def to_y(value):
        share = (value - y_low) / (y_high - y_low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    ticks = (_log_ticks if curve.log_y else _ticks)(y_low, y_high)
    for tick in ticks:
        y = to_y(tick)
        label = _number(10**tick if curve.log_y else tick)
        parts.append(f'<path class="grid-line" d="M{_LEFT} {y:.1f}'
                     f'H{_WIDTH - _RIGHT}"/><text x="{_LEFT - 6}" '
                     f'y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for tick in _ticks(x_low, x_high):
        parts.append(f'<text x="{to_x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 15}"'
                     f' text-anchor="middle">{_number(tick)}</text>')
    parts.append(f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" '
                 f'y="{_HEIGHT - 3}" text-anchor="middle">'
                 f'{html.escape(curve.x_label)}</text>')
    legend = []
    for index, (name, x, y) in enumerate(series):
        color = f'var(--s{index % _COLORS})'
        legend.append(f'<span><i style="background:{color}"></i>'
                      f'{html.escape(name)}</span>')
        if not len(x):
            continue
        lines = [(y, 1.)]
        if curve.smooth and len(y) > 20:
            lines = [(y, .28), (_running_median(y), 1.)]
        for values, opacity in lines:
            points = ' '.join(f'{to_x(a):.1f},{to_y(b):.1f}'
                              for a, b in zip(x, values))
            parts.append(f'<polyline class="curve" points="{points}" '
                         f'style="stroke:{color};opacity:{opacity}"/>')
        last = 10**y[-1] if curve.log_y else y[-1]
        parts.append(f'<circle cx="{to_x(x[-1]):.1f}" '
                     f'cy="{to_y(lines[-1][0][-1]):.1f}" r="3.5" '
                     f'style="fill:{color}"><title>{html.escape(name)}: '
                     f'{last:.4g}</title></circle>')
    heading = title
    if curve.y_label:
        heading += (' <span style="color:var(--soft);font-weight:400">'
                    f'{html.escape(curve.y_label)}</span>')
    return (f'<figure><figcaption>{heading}</figcaption>'
            f'<div class="legend">{"".join(legend)}</div>'
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            f'aria-label="{title}">{"".join(parts)}</svg></figure>')
