# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Reports: one HTML file with tables, curves, pictures and meshes.

The file asks for nothing from the network, follows the reader's light or dark
setting and is readable on a phone. Example::

    write_report(
        'report.html',
        title='Quick start',
        summary=Summary('PostoMETRO beats the constant pose.',
                        {'MPJPE': '140.2 mm', 'time': '12 min'}),
        stages=[Stage('tokenizer', 60., 'PCT stage I', {'images': 6000})],
        curves=[Curve('Loss', {'train': (steps, values)}, 'step', log_y=True)],
        tables=[Table('Errors', ['', 'MPJPE'], [['constant', 221.3]])],
        images=[Image(overlay, 'image 7: 120 mm')],
        meshes=[ViewerMesh('prediction', vertices, faces)])
"""
import base64
import html
import json
import math
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import (Any, Dict, Iterable, List, Mapping, Optional, Sequence,
                    Tuple, Union)

import cv2
import numpy as np

from mpm_postometro.files import atomic_write
from .curves import Curve, curve_svg
from .viewer import ViewerMesh, mesh_viewer_html

__all__ = [
    'Curve', 'Image', 'Stage', 'Summary', 'Table', 'ViewerMesh',
    'read_scalars', 'write_report'
]

_ASSETS = Path(__file__).parent / 'assets'


@dataclass
class Summary:
    """What stands at the top.

    Attributes:
        text (str): One or more paragraphs, parted by blank lines.
        figures (Mapping[str, Any]): What was measured -> its value, shown
            large.
    """
    text: str = ''
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Stage:
    """One step of what was done.

    Attributes:
        name (str): E.g. ``'tokenizer'``.
        seconds (float, optional): How long it took.
        text (str): What it did.
        facts (Mapping[str, Any]): Further figures: name -> value.
    """
    name: str
    seconds: Optional[float] = None
    text: str = ''
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Table:
    """A table; the first column names the rows.

    Attributes:
        title (str): Caption.
        header (Sequence[str]): Names of the columns.
        rows (Sequence[Sequence]): Cells; floats are shown with ``digits``
            digits after the point, None as a dash.
        note (str): Text below.
        best (int, optional): Index of a row to emphasise.
        digits (int): See ``rows``.
    """
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ''
    best: Optional[int] = None
    digits: int = 1


@dataclass
class Image:
    """A picture.

    Attributes:
        image (np.ndarray): (H, W, 3) uint8, BGR.
        caption (str): Text below.
    """
    image: np.ndarray
    caption: str = ''


def read_scalars(
        path: Union[str, Path]) -> Dict[str, Tuple[List[float], List[float]]]:
    """Read the curves that MMEngine's ``LocalVisBackend`` logs.

    Args:
        path (str | Path): ``vis_data/scalars.json`` of a run: one JSON object
            a line.

    Returns:
        dict: Name -> (steps, values). Training steps are iterations,
        validation steps are epochs, as MMEngine writes them. A last line that
        an interrupted run left unfinished is passed over. Values that are
        not finite are left out.
    """
    curves: Dict[str, Tuple[List[float], List[float]]] = {}
    lines = Path(path).read_text(encoding='utf-8').splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(f'{path}, line {number}: expected a JSON '
                             f'object, got {line[:60]!r}') from error
        step = record.get('step')
        if step is None:
            continue
        for name, value in record.items():
            if name in ('step', 'epoch', 'iter'):
                continue
            if isinstance(value, (int, float)) and math.isfinite(value):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(step)
                values.append(value)
    return curves


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return '–'
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, (float, np.floating)):
        return f'{value:.{digits}f}' if math.isfinite(value) else '–'
    if isinstance(value, (int, np.integer)):
        return f'{value:,}'
    return html.escape(str(value))


def _duration(seconds: Optional[float]) -> str:
    if seconds is None:
        return '–'
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f'{minutes // 60} h {minutes % 60:02d} min'
    return f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'


def _paragraphs(text: str) -> str:
    parts = (part.strip() for part in text.split('\n\n'))
    return ''.join(f'<p>{html.escape(part)}</p>' for part in parts if part)


def _section(title: str, body: str) -> str:
    return f'<section><h2>{html.escape(title)}</h2>{body}</section>'


def _table_html(table: Table) -> str:
    width = len(table.header)
    for index, row in enumerate(table.rows):
        if len(row) != width:
            raise ValueError(f'table {table.title!r}: row {index} has '
                             f'{len(row)} cells, the header {width}')
    # Columns of sentences are set flush left and may break.
    style = [
        ' class="text"' if column and any(
            isinstance(row[column], str) and len(row[column]) > 24
            for row in table.rows) else '' for column in range(width)
    ]
    head = ''.join(f'<th scope="col"{style[column]}>'
                   f'{html.escape(str(name))}</th>'
                   for column, name in enumerate(table.header))
    body = []
    for index, row in enumerate(table.rows):
        cells = ''.join(f'<td{style[column]}>{_cell(value, table.digits)}</td>'
                        for column, value in enumerate(row))
        mark = ' class="best"' if index == table.best else ''
        body.append(f'<tr{mark}>{cells}</tr>')
    caption = f'<caption>{html.escape(table.title)}</caption>' \
        if table.title else ''
    note = f'<p class="note">{html.escape(table.note)}</p>' \
        if table.note else ''
    return (f'<div class="card"><table>{caption}<thead><tr>{head}</tr>'
            f'</thead><tbody>{"".join(body)}</tbody></table></div>{note}')


def _stages_html(stages: Sequence[Stage]) -> str:
    names: List[str] = []
    for stage in stages:
        names += [name for name in stage.facts if name not in names]
    rows = [[
        stage.name, stage.text, *(stage.facts.get(n) for n in names),
        _duration(stage.seconds)
    ] for stage in stages]
    header = ['stage', 'what', *names, 'time']
    if not any(stage.text for stage in stages):
        header.pop(1)
        for row in rows:
            row.pop(1)
    return _table_html(Table('', header, rows, digits=2))


def _image_html(image: Image, quality: int) -> str:
    picture = np.asarray(image.image)
    if picture.dtype != np.uint8 or picture.ndim != 3:
        raise ValueError(f'image {image.caption!r}: expected (H, W, 3) '
                         f'uint8, got {picture.shape} {picture.dtype}')
    done, data = cv2.imencode('.jpg', picture,
                              [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f'image {image.caption!r} could not be encoded')
    caption = html.escape(image.caption)
    height, width = picture.shape[:2]
    return ('<figure><img loading="lazy" '
            f'width="{width}" height="{height}" alt="{caption}" '
            'src="data:image/jpeg;base64,'
            f'{base64.b64encode(data).decode()}">'
            f'<figcaption>{caption}</figcaption></figure>')


def _as_list(values: Optional[Iterable]) -> List:
    return [] if values is None else list(values)


def write_report(path: Union[str, Path],
                 *,
                 title: str = 'Report',
                 summary: Optional[Summary] = None,
                 stages: Sequence[Stage] = (),
                 curves: Sequence[Curve] = (),
                 tables: Sequence[Table] = (),
                 images: Sequence[Image] = (),
                 meshes: Sequence[ViewerMesh] = (),
                 images_text: str = '',
                 meshes_text: str = '',
                 footer: str = '',
                 jpeg_quality: int = 85) -> Path:
    """Write a report; parts that are empty are left out.

    Args:
        path (str | Path): HTML file, written atomically.
        title (str): Heading.
        summary (Summary, optional): Text and main figures.
        stages (Sequence[Stage]): What was done, in order.
        curves (Sequence[Curve]): Plots, see :class:`Curve`.
        tables (Sequence[Table]): Results.
        images (Sequence[Image]): Pictures, in a grid whose cells are as wide
            as the pictures ask for.
        meshes (Sequence[ViewerMesh]): Shown in one viewer; its groups are
            chosen from a list.
        images_text (str): Text above the pictures.
        meshes_text (str): Text above the viewer.
        footer (str): Last line; the date and time are added.
        jpeg_quality (int): Of the pictures, 0 to 100.

    Returns:
        Path: The file.

    Raises:
        ValueError: If a part has the wrong shape; the part is named, and an
            older file at ``path`` stays as it is.
    """
    summary = Summary() if summary is None else summary
    stages, curves, tables, images, meshes = map(
        _as_list, (stages, curves, tables, images, meshes))
    parts = [
        f'<header><h1>{html.escape(title)}</h1>'
        f'{_paragraphs(summary.text)}'
    ]
    if summary.figures:
        tiles = ''.join(f'<div class="tile"><b>{_cell(value, 1)}</b>'
                        f'<span>{html.escape(str(name))}</span></div>'
                        for name, value in summary.figures.items())
        parts.append(f'<div class="tiles">{tiles}</div>')
    parts.append('</header>')
    if tables:
        parts.append(_section('Results', ''.join(map(_table_html, tables))))
    if images:
        # Wide pictures (photo, mesh, views in one row) get wide cells.
        aspect = np.median(
            [item.image.shape[1] / item.image.shape[0] for item in images])
        cell = int(np.clip(240 * aspect, 220, 1040))
        figures = ''.join(_image_html(item, jpeg_quality) for item in images)
        parts.append(
            _section(
                'Pictures',
                _paragraphs(images_text) +
                f'<div class="images" style="--cell:{cell}px">{figures}</div>')
        )
    if meshes:
        parts.append(
            _section(
                'Meshes',
                _paragraphs(meshes_text) + mesh_viewer_html(meshes, title)))
    if curves:
        plots = ''.join(map(curve_svg, curves))
        parts.append(_section('Curves', f'<div class="plots">{plots}</div>'))
    if stages:
        parts.append(_section('What was done', _stages_html(stages)))
    written = datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z')
    footer = f'{html.escape(footer)} ' if footer else ''
    style = (_ASSETS / 'report.css').read_text(encoding='utf-8')
    page = ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" '
            'content="width=device-width, initial-scale=1">'
            f'<title>{html.escape(title)}</title><style>{style}</style>'
            f'</head><body><main>{"".join(parts)}'
            f'<footer>{footer}Written {written}.</footer>'
            '</main></body></html>\n')
    return atomic_write(
        path, lambda name: Path(name).write_text(page, encoding='utf-8'))
