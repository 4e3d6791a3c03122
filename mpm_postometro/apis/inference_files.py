# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What the inferencer writes for each picture."""
from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence

import numpy as np

from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.files import atomic_write
from mpm_postometro.visualization import (PALETTE, ViewerMesh, export_mesh,
                                          overlay_weak_perspective,
                                          person_panel, write_mesh_viewer)
from mpm_postometro.visualization.export import write_picture

if TYPE_CHECKING:
    from .inferencer import Person

__all__ = ['draw_people', 'write_npz', 'write_outputs']


def draw_people(image: np.ndarray, people: Sequence['Person'],
                faces: np.ndarray) -> np.ndarray:
    """Draw people over their picture, exactly as their crops saw them.

    Args:
        image (np.ndarray): (H, W, 3) uint8 BGR.
        people (Sequence[Person]): Of this picture.
        faces (np.ndarray): (F, 3).

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.
    """
    return overlay_weak_perspective(image,
                                    np.stack([p.vertices
                                              for p in people]), faces,
                                    np.stack([p.camera for p in people]),
                                    np.stack([p.crop_region for p in people]))


def write_npz(path: Path, people: Sequence['Person'],
              faces: np.ndarray) -> Path:
    """Write the numbers of the people of one picture.

    The keys (N people, V vertices, J joints; all float32 unless said) are
    those of :class:`Person` with a leading axis N: ``vertices`` and
    ``joints_3d`` (metres, pelvis at 0, x right, y down, z forward),
    ``keypoints`` (pixels), ``keypoint_scores``, ``camera`` ``(s, tx, ty)``,
    ``crop_center`` and ``crop_scale`` (pixels), ``transl`` (metres),
    ``bboxes`` (xyxy, pixels), ``bbox_scores``, ``box_index`` (int64); and for
    all of them ``faces`` (F, 3) int32, ``intrinsics`` (3, 3), ``image`` and
    ``joint_names`` (text).

    Args:
        path (Path): File, written atomically.
        people (Sequence[Person]): At least one, of one picture.
        faces (np.ndarray): (F, 3).

    Returns:
        Path: The file.
    """
    arrays = {
        key: np.stack([getattr(p, key) for p in people])
        for key in ('vertices', 'joints_3d', 'keypoints', 'keypoint_scores',
                    'camera', 'crop_center', 'crop_scale', 'transl')
    }
    num_joints = arrays['joints_3d'].shape[1]
    names = [
        s.joint_names for s in (SKELETONS['j14'], *SKELETONS.values())
        if len(s.joint_names) == num_joints
    ]
    arrays.update(
        bboxes=np.stack([p.bbox for p in people]),
        bbox_scores=np.array([p.bbox_score for p in people], np.float32),
        box_index=np.array([p.index for p in people]),
        intrinsics=people[0].intrinsics,
        faces=np.asarray(faces, dtype=np.int32),
        image=np.array(people[0].image),
        joint_names=np.array(names[0] if names else []))
    return atomic_write(path, lambda name: np.savez_compressed(name, **arrays))


def write_outputs(out_dir: Path,
                  stem: str,
                  image: np.ndarray,
                  people: Sequence['Person'],
                  faces: np.ndarray,
                  *,
                  formats: Sequence[str] = ('obj', 'glb'),
                  viewer: bool = False) -> List[Path]:
    """Write overlay, numbers and meshes of one picture.

    Args:
        out_dir (Path): Folder; made if missing.
        stem (str): Beginning of the names.
        image (np.ndarray): (H, W, 3) uint8 BGR.
        people (Sequence[Person]): At least one, of this picture.
        faces (np.ndarray): (F, 3).
        formats (Sequence[str]): Mesh files, 'obj' and 'glb'. Their frame is
            the person's, y up (see ``visualization/export.py``).
        viewer (bool): Also write a page with the meshes to turn.

    Returns:
        list[Path]: The files.
    """
    placed = np.stack([p.vertices + p.transl for p in people])
    picture = person_panel(image, draw_people(image, people, faces), placed,
                           faces)
    files = [
        write_picture(out_dir / f'{stem}_overlay.png', picture),
        write_npz(out_dir / f'{stem}.npz', people, faces)
    ]
    meshes = []
    for order, person in enumerate(people):
        color = PALETTE[order % len(PALETTE)][::-1]  # BGR -> RGB
        for kind in formats:
            files.append(
                export_mesh(
                    out_dir / f'{stem}_person{person.index}.{kind}',
                    person.vertices,
                    faces,
                    color=color))
        meshes.append(
            ViewerMesh(
                f'person {person.index}', person.vertices, faces, color=color))
    if viewer:
        files.append(
            write_mesh_viewer(out_dir / f'{stem}.html', meshes,
                              f'Meshes of {stem}'))
    return files
