// Copyright (c) The mpm_postometro authors. All rights reserved.
// Mesh viewer without dependencies: WebGL, or a software z-buffer on a 2D
// canvas where there is none. MeshViewer.mount(element) turns the markup of
// viewer.py (canvas, bar, hint, data as JSON) into a viewer. The element's
// dataset says how it went: `renderer` is
// "webgl" or "software", `drawn` the number of pixels of the first picture
// that show a mesh, `error` what went wrong.
(function () {
  'use strict';
  if (window.MeshViewer) return;

  var VERTEX = 'attribute vec3 p,n;uniform mat3 r;uniform vec4 v;' +
    'uniform vec3 c;varying vec3 m;void main(){m=r*n;vec3 q=r*(p-c);' +
    'gl_Position=vec4(q.x*v.x+v.z,q.y*v.y+v.w,-q.z*.2,1.);}';
  var FRAGMENT = 'precision mediump float;varying vec3 m;uniform vec3 k;' +
    'void main(){vec3 n=normalize(m);if(n.z<0.)n=-n;' +
    'float l=.30+.60*max(dot(n,vec3(-.406,.587,.700)),0.)' +
    '+.20*max(dot(n,vec3(.840,.105,.532)),0.);' +
    'gl_FragColor=vec4(min(k*l,1.),1.);}';

  function decode(text, Type) {
    var raw = atob(text), bytes = new Uint8Array(raw.length);
    for (var i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return new Type(bytes.buffer);
  }

  // Area-weighted vertex normals.
  function normalsOf(p, f) {
    var n = new Float32Array(p.length), i, j, a, b, c, u, v, w, l;
    for (i = 0; i < f.length; i += 3) {
      a = 3 * f[i]; b = 3 * f[i + 1]; c = 3 * f[i + 2];
      var bx = p[b] - p[a], by = p[b + 1] - p[a + 1], bz = p[b + 2] - p[a + 2];
      var cx = p[c] - p[a], cy = p[c + 1] - p[a + 1], cz = p[c + 2] - p[a + 2];
      u = by * cz - bz * cy; v = bz * cx - bx * cz; w = bx * cy - by * cx;
      for (j = 0; j < 3; j++) {
        var k = 3 * f[i + j];
        n[k] += u; n[k + 1] += v; n[k + 2] += w;
      }
    }
    for (i = 0; i < n.length; i += 3) {
      l = Math.hypot(n[i], n[i + 1], n[i + 2]) || 1;
      n[i] /= l; n[i + 1] /= l; n[i + 2] /= l;
    }
    return n;
  }

  // Both renderers draw a list of {mesh, x, y, sx, sy}: the centre of the
  // mesh in clip coordinates and clip units per metre.
  function webgl(canvas) {
    var options = {antialias: true, alpha: true, depth: true,
                   preserveDrawingBuffer: true};
    var gl = canvas.getContext('webgl2', options) ||
      canvas.getContext('webgl', options);
    if (!gl) return null;
    if (!(window.WebGL2RenderingContext &&
          gl instanceof window.WebGL2RenderingContext)) {
      gl.getExtension('OES_element_index_uint');
    }
    var program = gl.createProgram();
    [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]].forEach(
      function (pair) {
        var shader = gl.createShader(pair[0]);
        gl.shaderSource(shader, pair[1]);
        gl.compileShader(shader);
        if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) {
          throw new Error(gl.getShaderInfoLog(shader) || 'shader');
        }
        gl.attachShader(program, shader);
      });
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    var at = function (name) { return gl.getUniformLocation(program, name); };
    var place = {r: at('r'), v: at('v'), c: at('c'), k: at('k')};
    var attribute = {p: gl.getAttribLocation(program, 'p'),
                     n: gl.getAttribLocation(program, 'n')};
    function upload(target, data) {
      var buffer = gl.createBuffer();
      gl.bindBuffer(target, buffer);
      gl.bufferData(target, data, gl.STATIC_DRAW);
      return buffer;
    }
    return {
      name: 'webgl',
      draw: function (list, rotation) {
        gl.viewport(0, 0, canvas.width, canvas.height);
        gl.clearColor(0, 0, 0, 0);
        gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
        gl.uniformMatrix3fv(place.r, false, rotation);
        list.forEach(function (item) {
          var m = item.mesh;
          if (!m.buffers) {
            m.buffers = {p: upload(gl.ARRAY_BUFFER, m.p),
                         n: upload(gl.ARRAY_BUFFER, m.n),
                         f: upload(gl.ELEMENT_ARRAY_BUFFER, m.f)};
          }
          ['p', 'n'].forEach(function (key) {
            gl.bindBuffer(gl.ARRAY_BUFFER, m.buffers[key]);
            gl.enableVertexAttribArray(attribute[key]);
            gl.vertexAttribPointer(attribute[key], 3, gl.FLOAT, false, 0, 0);
          });
          gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, m.buffers.f);
          gl.uniform4f(place.v, item.sx, item.sy, item.x, item.y);
          gl.uniform3fv(place.c, m.centre);
          gl.uniform3f(place.k, m.color[0] / 255, m.color[1] / 255,
                       m.color[2] / 255);
          gl.drawElements(gl.TRIANGLES, m.f.length,
                          m.f.BYTES_PER_ELEMENT === 2 ? gl.UNSIGNED_SHORT
                                                      : gl.UNSIGNED_INT, 0);
        });
      },
      read: function () {
        var data = new Uint8Array(4 * canvas.width * canvas.height);
        gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA,
                      gl.UNSIGNED_BYTE, data);
        return data;
      }
    };
  }

  function software(canvas) {
    var context = canvas.getContext('2d');
    return {
      name: 'software',
      draw: function (list, R) {
        var W = canvas.width, H = canvas.height;
        var image = context.createImageData(W, H), out = image.data;
        var buffer = new Float32Array(W * H).fill(-1e9);
        list.forEach(function (item) {
          var m = item.mesh, p = m.p, n = m.n, f = m.f, c = m.centre;
          var count = p.length / 3, X = new Float32Array(count);
          var Y = new Float32Array(count), Z = new Float32Array(count);
          var L = new Float32Array(count), i, x, y, z;
          for (i = 0; i < count; i++) {
            x = p[3 * i] - c[0]; y = p[3 * i + 1] - c[1];
            z = p[3 * i + 2] - c[2];
            var qx = R[0] * x + R[3] * y + R[6] * z;
            var qy = R[1] * x + R[4] * y + R[7] * z;
            Z[i] = R[2] * x + R[5] * y + R[8] * z;
            X[i] = (qx * item.sx + item.x + 1) / 2 * W - .5;
            Y[i] = (1 - qy * item.sy - item.y) / 2 * H - .5;
            x = n[3 * i]; y = n[3 * i + 1]; z = n[3 * i + 2];
            var nx = R[0] * x + R[3] * y + R[6] * z;
            var ny = R[1] * x + R[4] * y + R[7] * z;
            var nz = R[2] * x + R[5] * y + R[8] * z;
            if (nz < 0) { nx = -nx; ny = -ny; nz = -nz; }
            L[i] = .30 +
              .60 * Math.max(-.406 * nx + .587 * ny + .700 * nz, 0) +
              .20 * Math.max(.840 * nx + .105 * ny + .532 * nz, 0);
          }
          for (i = 0; i < f.length; i += 3) {
            var a = f[i], b = f[i + 1], d = f[i + 2];
            var area = (X[b] - X[a]) * (Y[d] - Y[a]) -
              (X[d] - X[a]) * (Y[b] - Y[a]);
            if (!area) continue;
            var x0 = Math.max(0, Math.ceil(Math.min(X[a], X[b], X[d])));
            var x1 = Math.min(W - 1, Math.floor(Math.max(X[a], X[b], X[d])));
            var y0 = Math.max(0, Math.ceil(Math.min(Y[a], Y[b], Y[d])));
            var y1 = Math.min(H - 1, Math.floor(Math.max(Y[a], Y[b], Y[d])));
            for (y = y0; y <= y1; y++) {
              for (x = x0; x <= x1; x++) {
                var u = ((X[d] - X[b]) * (y - Y[b]) -
                         (x - X[b]) * (Y[d] - Y[b])) / area;
                var v = ((X[a] - X[d]) * (y - Y[d]) -
                         (x - X[d]) * (Y[a] - Y[d])) / area;
                var w = 1 - u - v;
                if (u < -1e-5 || v < -1e-5 || w < -1e-5) continue;
                z = u * Z[a] + v * Z[b] + w * Z[d];
                var at = y * W + x;
                if (z <= buffer[at]) continue;
                buffer[at] = z;
                var light = u * L[a] + v * L[b] + w * L[d];
                at *= 4;
                out[at] = m.color[0] * light;
                out[at + 1] = m.color[1] * light;
                out[at + 2] = m.color[2] * light;
                out[at + 3] = 255;
              }
            }
          }
        });
        context.putImageData(image, 0, 0);
      },
      read: function () {
        return context.getImageData(0, 0, canvas.width, canvas.height).data;
      }
    };
  }

  function start(root) {
    var canvas = root.querySelector('canvas');
    var data = JSON.parse(root.querySelector('script').textContent);
    var faces = data.faces.map(function (entry) {
      return decode(entry[1], entry[0] === 2 ? Uint16Array : Uint32Array);
    });
    data.meshes.forEach(function (m) {
      m.p = decode(m.vertices, Float32Array);
      m.f = faces[m.faces];
      m.n = normalsOf(m.p, m.f);
      m.vertices = null;
      var low = [1e9, 1e9, 1e9], high = [-1e9, -1e9, -1e9], i, j;
      for (i = 0; i < m.p.length; i += 3) {
        for (j = 0; j < 3; j++) {
          low[j] = Math.min(low[j], m.p[i + j]);
          high[j] = Math.max(high[j], m.p[i + j]);
        }
      }
      m.centre = low.map(function (v, j) { return (v + high[j]) / 2; });
      m.radius = Math.hypot(high[0] - low[0], high[1] - low[1],
                            high[2] - low[2]) / 2 || 1;
      m.shown = true;
    });
    var state = {yaw: 0, pitch: 0, zoom: 1, together: data.together};
    var group = data.meshes[0].group;
    var renderer = null, waiting = false, first = true;

    function shown() {
      return data.meshes.filter(function (m) {
        return m.group === group && m.shown;
      });
    }

    function draw() {
      waiting = false;
      var ratio = Math.min(window.devicePixelRatio || 1, 2.5);
      var box = canvas.getBoundingClientRect();
      var W = Math.max(1, Math.round(box.width * ratio));
      var H = Math.max(1, Math.round(box.height * ratio));
      if (renderer.name === 'software' && W * H > 6e5) {
        var shrink = Math.sqrt(6e5 / (W * H));
        W = Math.round(W * shrink); H = Math.round(H * shrink);
      }
      if (canvas.width !== W) canvas.width = W;
      if (canvas.height !== H) canvas.height = H;
      var list = shown(), cells = state.together ? 1 : list.length || 1;
      var all = data.meshes.filter(function (m) { return m.group === group; });
      var radius = Math.max.apply(null, all.map(function (m) {
        return m.radius;
      }));
      // A standing person is far taller than wide: fit by height, and by
      // width where the cells are narrow.
      var unit = Math.min(H, 1.25 * W / cells) / (2.08 * radius) * state.zoom;
      var cy = Math.cos(state.yaw), sy = Math.sin(state.yaw);
      var cx = Math.cos(state.pitch), sx = Math.sin(state.pitch);
      renderer.draw(list.map(function (m, i) {
        return {mesh: m, x: state.together ? 0 : (2 * i + 1) / cells - 1,
                y: 0, sx: 2 * unit / W, sy: 2 * unit / H};
      }), new Float32Array([cy, sx * sy, -cx * sy, 0, cx, sx,
                            sy, -sx * cy, cx * cy]));
      if (first) {
        first = false;
        var pixels = renderer.read(), drawn = 0;
        for (var i = 3; i < pixels.length; i += 4) if (pixels[i]) drawn++;
        root.dataset.renderer = renderer.name;
        root.dataset.drawn = drawn;
      }
    }

    function redraw() {
      if (!waiting) { waiting = true; window.requestAnimationFrame(draw); }
    }

    // A canvas keeps the kind of its first context: the fall-back needs a
    // fresh one.
    function fallBack() {
      var fresh = canvas.cloneNode(false);
      canvas.replaceWith(fresh);
      canvas = fresh;
      listen();
      renderer = software(canvas);
    }

    function reset() { state.yaw = state.pitch = 0; state.zoom = 1; redraw(); }

    function turn(dx, dy) {
      state.yaw += dx;
      state.pitch = Math.max(-1.57, Math.min(1.57, state.pitch + dy));
      redraw();
    }

    function zoom(factor) {
      state.zoom = Math.max(.2, Math.min(12, state.zoom * factor));
      redraw();
    }

    function listen() {
      var pointers = {}, spread = 0;
      var distance = function () {
        var ids = Object.keys(pointers), a = pointers[ids[0]];
        var b = pointers[ids[1]];
        return Math.hypot(a.x - b.x, a.y - b.y);
      };
      canvas.addEventListener('pointerdown', function (event) {
        pointers[event.pointerId] = {x: event.clientX, y: event.clientY};
        canvas.setPointerCapture(event.pointerId);
        if (Object.keys(pointers).length === 2) spread = distance();
      });
      canvas.addEventListener('pointermove', function (event) {
        var old = pointers[event.pointerId];
        if (!old) return;
        var now = {x: event.clientX, y: event.clientY};
        pointers[event.pointerId] = now;
        var fingers = Object.keys(pointers).length;
        if (fingers === 1) turn((now.x - old.x) * .01, (now.y - old.y) * .01);
        if (fingers === 2) {
          var wide = distance();
          zoom(wide / (spread || wide));
          spread = wide;
        }
      });
      ['pointerup', 'pointercancel'].forEach(function (name) {
        canvas.addEventListener(name, function (event) {
          delete pointers[event.pointerId];
        });
      });
      // Inside a longer page the wheel scrolls until the viewer is clicked.
      canvas.addEventListener('wheel', function (event) {
        if (!data.alone && document.activeElement !== canvas &&
            !event.ctrlKey) return;
        event.preventDefault();
        zoom(Math.exp(-event.deltaY * (event.deltaMode ? .05 : .0015)));
      }, {passive: false});
      canvas.addEventListener('dblclick', reset);
      canvas.addEventListener('keydown', function (event) {
        var step = {ArrowLeft: [-.12, 0], ArrowRight: [.12, 0],
                    ArrowUp: [0, -.12], ArrowDown: [0, .12]}[event.key];
        if (step) turn(step[0], step[1]);
        else if (event.key === '+' || event.key === '=') zoom(1.15);
        else if (event.key === '-') zoom(1 / 1.15);
        else if (event.key === 'r' || event.key === 'R' ||
                 event.key === 'Home' || event.key === '0') reset();
        else return;
        event.preventDefault();
      });
      canvas.addEventListener('webglcontextlost', function () {
        fallBack();
        redraw();
      });
    }

    var bar = root.querySelector('.mv-bar');
    function button(text, pressed, act) {
      var node = document.createElement('button');
      node.type = 'button';
      node.textContent = text;
      if (pressed !== null) node.setAttribute('aria-pressed', pressed);
      node.addEventListener('click', function () { act(node); redraw(); });
      bar.appendChild(node);
      return node;
    }
    function controls() {
      bar.textContent = '';
      var groups = data.meshes.map(function (m) { return m.group; }).filter(
        function (name, i, names) { return names.indexOf(name) === i; });
      if (groups.length > 1) {
        var select = document.createElement('select');
        select.setAttribute('aria-label', 'Example');
        groups.forEach(function (name) {
          select.add(new Option(name, name, false, name === group));
        });
        select.addEventListener('change', function () {
          group = select.value;
          controls();
          redraw();
        });
        bar.appendChild(select);
      }
      var members = data.meshes.filter(function (m) {
        return m.group === group;
      });
      if (members.length > 1) {
        members.forEach(function (m) {
          var chip = button(m.name, m.shown, function (node) {
            m.shown = !m.shown;
            node.setAttribute('aria-pressed', m.shown);
          });
          chip.style.setProperty('--chip', 'rgb(' + m.color.join(',') + ')');
          chip.classList.add('mv-chip');
        });
        button(state.together ? 'Side by side' : 'One over another', null,
               function () { state.together = !state.together; controls(); });
      }
      button('Reset', null, reset);
    }

    listen();
    controls();
    try {
      renderer = webgl(canvas);
    } catch (error) {
      renderer = null;
    }
    if (!renderer) fallBack();
    if (window.ResizeObserver) new ResizeObserver(draw).observe(root);
    else window.addEventListener('resize', redraw);
    redraw();
  }

  window.MeshViewer = {
    mount: function (root) {
      try {
        start(root);
      } catch (error) {
        root.dataset.error = String(error);
        root.querySelector('.mv-hint').textContent =
          'The viewer could not start: ' + error;
        throw error;
      }
    }
  };
})();
