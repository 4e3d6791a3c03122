# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Pascal VOC as it is unpacked, and what is cut out of it."""
import importlib.util
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from mpm_postometro.datasets.transforms import PasteObjects


@pytest.fixture
def tool(repo_root):
    file = repo_root / 'tools' / 'dataset_converters' / 'voc_cutouts.py'
    spec = importlib.util.spec_from_file_location('voc_cutouts', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_picture(voc, name, objects, segmented=1):
    """A grey picture with coloured rectangles and their indexed masks.

    Args:
        objects (list[tuple]): Name, difficult, truncated and box.
    """
    picture = np.full((80, 100, 3), 120, np.uint8)
    masks = np.zeros((80, 100), np.uint8)
    text = ''
    for number, (kind, difficult, truncated, box) in enumerate(objects, 1):
        left, top, right, bottom = box
        picture[top:bottom, left:right] = (0, 0, 250)
        masks[top:bottom, left:right] = number
        masks[top:bottom, right - 1] = 255  # a border that belongs to nobody
        text += (f'<object><name>{kind}</name><truncated>{truncated}'
                 f'</truncated><difficult>{difficult}</difficult></object>')
    for folder in ('Annotations', 'JPEGImages', 'SegmentationObject'):
        (voc / folder).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(voc / 'JPEGImages' / f'{name}.jpg'), picture)
    image = Image.fromarray(masks, 'P')
    image.putpalette([v for k in range(256) for v in (k, 0, 255 - k)])
    image.save(voc / 'SegmentationObject' / f'{name}.png')
    (voc / 'Annotations' / f'{name}.xml').write_text(
        f'<annotation><segmented>{segmented}</segmented>{text}</annotation>')


def test_objects_are_cut_out(tool, tmp_path, capsys):
    voc, out = tmp_path / 'VOC2012', tmp_path / 'out'
    write_picture(voc, 'a', [('sofa', 0, 0, (10, 10, 51, 40)),
                             ('person', 0, 0, (55, 5, 90, 70)),
                             ('cat', 1, 0, (10, 45, 50, 75))])
    write_picture(voc, 'b', [('dog', 0, 1, (0, 0, 40, 40)),
                             ('cup', 0, 0, (60, 60, 65, 65)),
                             ('tv', 0, 0, (45, 10, 96, 50))])
    write_picture(voc, 'c', [('tv', 0, 0, (45, 10, 96, 50))], segmented=0)
    tool.main([str(voc), str(out)])
    text = capsys.readouterr().out
    assert f'2 objects in {out}' in text
    for reason in ('people', 'difficult', 'truncated', 'small',
                   'pictures without masks'):
        assert f'left out: 1 {reason}\n' in text
    assert sorted(p.name for p in out.iterdir()) == [
        'a_01.png', 'b_03.png', 'report.json'
    ]
    sofa = cv2.imread(str(out / 'a_01.png'), cv2.IMREAD_UNCHANGED)
    assert sofa.shape == (15, 20, 4)  # 40 x 30, halved
    # opaque inside, soft at the edge, red all over
    assert (sofa[2:-2, 2:-2, 3] == 255).all() and (sofa[0, :, 3] < 255).all()
    assert (sofa[2:-2, 2:-2, 2] > 230).all()

    # a second run keeps what is there, and the pictures can be pasted
    (out / 'a_01.png').write_bytes((out / 'b_03.png').read_bytes())
    before = (out / 'a_01.png').read_bytes()
    tool.main([str(voc), str(out)])
    assert (out / 'a_01.png').read_bytes() == before
    sample = dict(
        img=np.zeros((64, 64, 3), np.uint8),
        bbox=np.array([[10, 10, 50, 50]]),
        warp_mat=np.eye(2, 3))
    pasted = PasteObjects(1., folder=str(out))(sample)['img']
    assert (pasted[..., 2] > 200).sum() > 50


@pytest.mark.parametrize('file, content, reason', [
    ('Annotations/b.xml', b'<annotation><segmented>1', 'no element found'),
    ('Annotations/b.xml', b'\xff\xfe\x00', 'unclosed token'),
    ('JPEGImages/b.jpg', None, 'No such file'),
    ('JPEGImages/b.jpg', b'', 'is no picture'),
    ('JPEGImages/b.jpg', -20, 'cut off'),
    ('SegmentationObject/b.png', None, 'No such file'),
    ('SegmentationObject/b.png', b'no picture', 'cannot identify'),
    ('SegmentationObject/b.png', 800, ''),
])
def test_broken_files_are_named(tool, tmp_path, capsys, file, content, reason):
    voc, out = tmp_path / 'VOC2012', tmp_path / 'out'
    for name in 'abc':
        write_picture(voc, name, [('sofa', 0, 0, (10, 10, 51, 40))])
    if content is None:
        (voc / file).unlink(missing_ok=True)
    elif isinstance(content, int):
        content = (voc / file).read_bytes()[:content]
    if content is not None:
        (voc / file).write_bytes(content)
    tool.main([str(voc), str(out)])
    why = 'pictures whose files are missing or broken'
    assert f'left out: 1 {why}\n' in capsys.readouterr().out
    report = json.loads((out / 'report.json').read_text())
    assert report['objects'] == 2 and report['left_out'] == {why: 1}
    line, = report['missing_or_broken']
    assert line.startswith(f'{file}: ') and reason in line
    assert sorted(p.name
                  for p in out.glob('*.png')) == ['a_01.png', 'c_01.png']


def test_masks_of_another_size(tool, tmp_path):
    voc, out = tmp_path / 'VOC2012', tmp_path / 'out'
    write_picture(voc, 'a', [('sofa', 0, 0, (10, 10, 51, 40))])
    cv2.imwrite(
        str(voc / 'JPEGImages/a.jpg'), np.zeros((40, 100, 3), np.uint8))
    tool.main([str(voc), str(out)])
    line, = json.loads((out / 'report.json').read_text())['missing_or_broken']
    assert 'a.png: is (80, 100), the picture (40, 100)' in line


def test_other_folders_are_refused(tool, tmp_path):
    with pytest.raises(SystemExit, match='Annotations in it'):
        tool.main([str(tmp_path), str(tmp_path / 'out')])
