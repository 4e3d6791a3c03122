# Copyright (c) The mpm_postometro authors. All rights reserved.
import base64
import json
import re

import numpy as np
import pytest

from mpm_postometro.visualization.viewer import (ViewerMesh, mesh_viewer_html,
                                                 write_mesh_viewer)

trimesh = pytest.importorskip('trimesh')

# Frames are rare where nobody looks. Before the viewer asks for its first one,
# since it asks for no other while it waits.
_FRAMES = '''<script>
window.requestAnimationFrame = function (act) { setTimeout(act, 0); };
</script>'''
# Uses the viewer as a reader would, and says what came of it.
_USER = '''<script>
window.onerror = function (text) { document.body.dataset.fault = text; };
setTimeout(function () {
  var root = document.querySelector('.mv');
  var look = function () { return root.querySelector('canvas').toDataURL(); };
  var key = function (name) {
    return function () {
      root.querySelector('canvas').dispatchEvent(
        new KeyboardEvent('keydown', {key: name}));
    };
  };
  var pointer = function (name, x) {
    root.querySelector('canvas').dispatchEvent(new PointerEvent(
      name, {pointerId: 1, clientX: x, clientY: 50}));
  };
  var steps = {
    arrow: key('ArrowLeft'), home: key('r'), plus: key('+'),
    home2: key('0'),
    wheel: function () {
      root.querySelector('canvas').dispatchEvent(
        new WheelEvent('wheel', {deltaY: -200, cancelable: true}));
    },
    home3: key('Home'), up: key('ArrowUp'), down: key('ArrowDown'),
    drag: function () {
      root.querySelector('canvas').setPointerCapture = function () {};
      pointer('pointerdown', 10); pointer('pointermove', 60);
      pointer('pointerup', 60); pointer('pointermove', 90);
    },
    back: function () {
      pointer('pointerdown', 60); pointer('pointermove', 10);
      pointer('pointerup', 10);
    },
    hide: function () { root.querySelectorAll('.mv-chip')[1].click(); },
    show: function () { root.querySelectorAll('.mv-chip')[1].click(); },
    group: function () {
      var select = root.querySelector('select');
      select.value = 'two';
      select.dispatchEvent(new Event('change'));
    }
  };
  var names = Object.keys(steps), first = look(), seen = [];
  (function next() {
    if (!names.length) { root.dataset.seen = seen.join(' '); return; }
    var name = names.shift();
    steps[name]();
    setTimeout(function () {
      seen.push(name + (look() === first ? ':same' : ':changed'));
      next();
    }, 50);
  })();
}, 600);
</script></body>'''


def _mesh(name='ball', group='one', **kwargs):
    ball = trimesh.creation.icosphere(2)
    vertices = (ball.vertices * [.3, .9, .2]).astype(np.float32)
    vertices[:, 2] += .3 * vertices[:, 0]  # not the same after a turn
    return ViewerMesh(name, vertices, ball.faces, group, **kwargs)


def _data(fragment):
    text = re.search(r'<script type="application/json">(.*?)</script>',
                     fragment, re.DOTALL).group(1)
    return json.loads(text)


def test_page_carries_the_meshes_as_they_are():
    camera, body = _mesh(), _mesh('b</script>', frame='body', color=(1, 2, 3))
    fragment = mesh_viewer_html([camera, body], 'A <title>')
    assert '<title>' not in fragment
    assert 'https:' not in fragment and 'http:' not in fragment
    data = _data(fragment)
    assert len(data['faces']) == 1, 'equal faces are stored once'
    width, faces = data['faces'][0]
    assert width == 2
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(faces), '<u2').reshape(-1, 3),
        camera.faces)
    for mesh, stored, turn in zip((camera, body), data['meshes'],
                                  ([1, -1, -1], [1, 1, 1])):
        np.testing.assert_array_equal(
            np.frombuffer(base64.b64decode(stored['vertices']),
                          '<f4').reshape(-1, 3), mesh.vertices * turn)
    assert data['meshes'][1]['name'] == 'b</script>'
    assert data['meshes'][1]['color'] == [1, 2, 3]


def test_wrong_meshes_are_named():
    mesh = _mesh()
    broken = [
        ViewerMesh('m', mesh.vertices[:, :2], mesh.faces),
        ViewerMesh('m', mesh.vertices, mesh.faces + 1),
        ViewerMesh('m', mesh.vertices * np.nan, mesh.faces),
        ViewerMesh('m', mesh.vertices, mesh.faces, frame='world'),
    ]
    for item in broken:
        with pytest.raises(ValueError, match="'m'"):
            mesh_viewer_html([item])
    with pytest.raises(ValueError, match='at least one'):
        mesh_viewer_html([])


@pytest.mark.parametrize('renderer, flags', [
    ('webgl', ['--enable-unsafe-swiftshader']),
    ('software', ['--disable-3d-apis']),
])
def test_a_browser_draws_and_turns_it(tmp_path, browser, renderer, flags):
    path = write_mesh_viewer(
        tmp_path / 'v.html',
        [_mesh(), _mesh('ground truth'),
         _mesh('other', 'two')])
    text = path.read_text().replace('<script', f'{_FRAMES}<script', 1)
    path.write_text(text.replace('</body>', _USER))
    page = browser(path, '--window-size=700,500', *flags)
    assert page.console == []
    assert 'data-fault' not in page.dom
    (state, ) = page.attributes('mv')
    if renderer == 'webgl' and state['renderer'] == 'software':
        pytest.skip('this Chromium has no WebGL')
    assert state['renderer'] == renderer
    # Two ellipses of .3 x .9 m side by side: their size in pixels follows
    # from the layout only roughly, but nothing and everything are far off.
    width, height = map(
        int,
        re.search(r'<canvas.*?width="(\d+)" height="(\d+)"',
                  page.dom).groups())
    share = int(state['drawn']) / (width * height)
    assert .05 < share < .5
    assert state['seen'].split() == [
        'arrow:changed', 'home:same', 'plus:changed', 'home2:same',
        'wheel:changed', 'home3:same', 'up:changed', 'down:same',
        'drag:changed', 'back:same', 'hide:changed', 'show:same',
        'group:changed'
    ]
