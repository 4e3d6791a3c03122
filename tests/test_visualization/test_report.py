# Copyright (c) The mpm_postometro authors. All rights reserved.
import json
import re

import numpy as np
import pytest

from mpm_postometro.visualization import (Curve, Image, Stage, Summary, Table,
                                          ViewerMesh, read_scalars,
                                          write_report)
from mpm_postometro.visualization.curves import curve_svg

trimesh = pytest.importorskip('trimesh')


def _example(path, **kwargs):
    """A report with one of everything."""
    ball = trimesh.creation.icosphere(2)
    steps = np.arange(1, 1001)
    loss = 1000 * np.exp(-steps / 300) + 20
    photo = np.random.default_rng(0).integers(0, 255, (60, 200, 3), np.uint8)
    content = dict(
        title='Report <b>',
        summary=Summary('It works.\n\nSecond & last.', {
            'MPJPE': '142.3 mm',
            'people': 1000
        }),
        stages=[
            Stage('tokenizer', 61.2, 'PCT stage I', {'images': 6000}),
            Stage('mesh', 4000., 'PostoMETRO', {'epochs': 3})
        ],
        curves=[
            Curve(
                'Loss', {'train': (steps, loss)},
                'step',
                log_y=True,
                smooth=True),
            Curve('Empty', {'none': ([], [])})
        ],
        tables=[
            Table(
                'Errors', ['', 'MPJPE', 'PA'],
                [['constant', 221.34, None], ['PostoMETRO', 142.26, 98]],
                note='in mm',
                best=1)
        ],
        images=[Image(photo, 'image 7')],
        meshes=[
            ViewerMesh('prediction', ball.vertices, ball.faces, 'image 7'),
            ViewerMesh('ground truth', ball.vertices, ball.faces, 'image 7')
        ],
        footer='Version 1.')
    return write_report(path, **{**content, **kwargs})


def test_report_says_what_it_was_given(tmp_path):
    text = _example(tmp_path / 'deep' / 'report.html').read_text()
    for piece in ('Report &lt;b&gt;', '<p>Second &amp; last.</p>', '142.3 mm',
                  '1,000', '<td>221.3</td><td>–</td>',
                  '<td>142.3</td><td>98</td>', 'in mm', 'image 7',
                  '1 min 01 s', '1 h 06 min', '6,000', 'Version 1.',
                  'No values were recorded'):
        assert piece in text, piece
    assert '<b>' not in re.sub('<div class="tile"><b>', '', text)
    # Nothing that a browser would fetch.
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert 'url(' not in text and '@import' not in text
    assert 'http://' not in text and 'https://' not in text


def test_empty_parts_are_left_out(tmp_path):
    text = write_report(tmp_path / 'r.html', title='Only this').read_text()
    assert '<h2>' not in text and 'Only this' in text


def test_a_wrong_part_is_named_and_the_old_report_stays(tmp_path):
    path = tmp_path / 'r.html'
    path.write_text('old')
    wrong = [
        ('Errors', dict(tables=[Table('Errors', ['', 'a'], [['x']])])),
        ('floats', dict(images=[Image(np.zeros((2, 2, 3)), 'floats')])),
        ('Loss', dict(curves=[Curve('Loss', {'a': ([1], [1, 2])})])),
    ]
    for name, part in wrong:
        with pytest.raises(ValueError, match=name):
            _example(path, **part)
    assert path.read_text() == 'old' and len(list(tmp_path.iterdir())) == 1


def test_browser_shows_the_report(tmp_path, browser):
    page = browser(_example(tmp_path / 'report.html'))
    assert page.console == []
    (viewer, ) = page.attributes('mv')
    assert int(viewer['drawn']) > 5000 and 'error' not in viewer


def test_browser_faults_would_be_seen(tmp_path, browser):
    path = _example(tmp_path / 'report.html')
    text = path.read_text()
    assert 'm.n = normalsOf' in text
    path.write_text(text.replace('m.n = normalsOf', 'm.n = nothing'))
    page = browser(path)
    assert any('nothing' in line for line in page.console)
    assert 'nothing' in page.attributes('mv')[0]['error']


def _points(svg):
    lines = re.findall(r'points="([^"]*)"', svg)
    return [
        np.array([list(map(float, p.split(','))) for p in line.split()])
        for line in lines
    ]


def test_curves_are_to_scale():
    x = np.array([0., 1., 2., 4.])
    svg = curve_svg(Curve('c', {'a': (x, [1, 10, 100, 10000])}, log_y=True))
    (points, ) = _points(svg)
    np.testing.assert_allclose(
        points[1, 0] - points[0, 0], (points[3, 0] - points[0, 0]) / 4,
        atol=.2)
    # Equal factors are equal ways up.
    np.testing.assert_allclose(
        points[0, 1] - points[1, 1], points[1, 1] - points[2, 1], atol=.2)
    assert (np.diff(points[:, 1]) < 0).all(), 'up is small y'
    assert '>1k<' in svg or '>100<' in svg
    linear = curve_svg(
        Curve('c', {
            'a': ([0, 1, 2], [5, np.nan, 7]),
            'b': ([0, 2], [6, 6])
        }))
    one, other = _points(linear)
    assert len(one) == 2, 'points that are not finite are left out'
    np.testing.assert_allclose(other[0, 1], one[:, 1].mean(), atol=.2)
    flat = curve_svg(Curve('c', {'a': ([3], [0.])}))
    assert 'nan' not in flat and 'inf' not in flat


def test_scalars_of_a_run_are_read(tmp_path):
    path = tmp_path / 'scalars.json'
    lines = [
        dict(lr=.1, loss=5., iter=10, epoch=1, step=10),
        {
            'mesh/mpjpe': 200.,
            'step': 1
        },
        dict(loss=float('nan'), step=15),
        dict(loss=4., step=20),
    ]
    text = '\n'.join(map(json.dumps, lines))
    path.write_text(text + '\n{"loss": 3., "st')
    curves = read_scalars(path)
    assert curves == {
        'lr': ([10], [.1]),
        'loss': ([10, 20], [5., 4.]),
        'mesh/mpjpe': ([1], [200.])
    }
    path.write_text('{"loss"\n' + text)
    with pytest.raises(ValueError, match='scalars.json, line 1'):
        read_scalars(path)
