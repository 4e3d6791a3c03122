# Copyright (c) The mpm_postometro authors. All rights reserved.
"""COCO's folders with the one real photo of the sample data."""
import json
import shutil
from pathlib import Path

PHOTO = '000000000785.jpg'
IMAGE_ID = 785


def write_photo_coco(folder: Path, root: Path, repeat: int = 1) -> None:
    """Write COCO's folders below ``root``.

    Args:
        folder (Path): Holds the photo, ``test_coco.json`` and
            ``test_coco_det_AP_H_56.json`` (detections).
        root (Path): To write to.
        repeat (int): The training sees the person as often an epoch.
    """
    content = json.loads((folder / 'test_coco.json').read_text())
    for key, of in (('images', 'id'), ('annotations', 'image_id')):
        content[key] = [x for x in content[key] if x[of] == IMAGE_ID]
    (root / 'annotations').mkdir(parents=True)
    for split in ('train2017', 'val2017'):
        (root / split).mkdir()
        shutil.copy(folder / PHOTO, root / split)
        if split == 'train2017':
            person, = content['annotations']
            content['annotations'] = [
                dict(person, id=i) for i in range(repeat)
            ]
        else:
            content['annotations'] = [person]
        file = root / 'annotations' / f'person_keypoints_{split}.json'
        file.write_text(json.dumps(content))
    found = json.loads((folder / 'test_coco_det_AP_H_56.json').read_text())
    found = [box for box in found if box['image_id'] == IMAGE_ID]
    (root / 'detections.json').write_text(json.dumps(found))
