# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Occlusion sensitivity of trained networks, over people of their test
data."""
import copy
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmpose.registry import DATASETS

from mpm_postometro.bodies import check_same_body
from mpm_postometro.bodies.skeletons import J14_HIPS
from mpm_postometro.evaluation.occlusion_sensitivity import (
    measure_joint_errors, occluder_places)
from mpm_postometro.files import atomic_write
from .model_loading import load_model, open_config

__all__ = ['OcclusionMaps', 'compare_occlusion', 'write_occlusion_maps']


class OcclusionMaps(NamedTuple):
    """What squares do to M networks, N people and K joints, in mm.

    Attributes:
        names (list[str]): Of the networks.
        indices (np.ndarray): Of the people in the test data, (N, ).
        crops (np.ndarray): What the first network saw, (N, H, W, 3) uint8
            BGR.
        places (np.ndarray): See ``occluder_places``, (rows, columns, 4).
        clean (np.ndarray): Errors without a square, (M, N, K).
        occluded (np.ndarray): Errors with it at each place,
            (M, N, rows, columns, K). Joints without label are NaN.
        skipped (int): People without 3D joints.
    """
    names: List[str]
    indices: np.ndarray
    crops: np.ndarray
    places: np.ndarray
    clean: np.ndarray
    occluded: np.ndarray
    skipped: int

    def summary(self) -> Dict[str, Dict[str, float]]:
        """MPJPE in mm of each network, a mean over people: ``clean``, with a
        square (``occluded``, the mean over all places), and with the square
        where it does most harm (``worst``)."""
        clean = np.nanmean(self.clean, -1)  # (M, N)
        maps = np.nanmean(self.occluded, -1)
        return {
            name:
            dict(
                clean=float(clean[m].mean()),
                occluded=float(maps[m].mean()),
                worst=float(maps[m].max((1, 2)).mean()))
            for m, name in enumerate(self.names)
        }


def compare_occlusion(networks: Sequence[tuple],
                      names: Sequence[str],
                      people: int = 20,
                      occluder: float = 40 / 224,
                      stride: float = 40 / 224,
                      options: Optional[dict] = None,
                      device: Optional[str] = None,
                      batch_size: int = 37,
                      report: Optional[Callable] = None) -> OcclusionMaps:
    """Measure networks on the same people.

    Args:
        networks (Sequence[tuple]): Config and checkpoint (or None) of each:
            estimators whose predictions have ``keypoints_3d``.
        names (Sequence[str]): Of the networks, all different.
        people (int): How many, spread evenly over the test data of each
            config, which must be the same.
        occluder (float): Side of the square over the width of the crop.
        stride (float): Most from one square to the next, likewise.
        options (dict, optional): Overrides settings of all configs.
        device (str, optional): Defaults to the first GPU, or the CPU.
        batch_size (int): Pictures at once.
        report (Callable, optional): Called with the fraction done and a text.

    Returns:
        OcclusionMaps: See there.

    Raises:
        ValueError: If the networks' test data differ, labels are of another
            body than a network's, or nobody has 3D joints.
    """
    if len(set(names)) != len(networks):
        raise ValueError(f'expected {len(networks)} different names, got '
                         f'{list(names)}')
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    places = first = None
    clean, occluded = [], []
    for number, (name, network) in enumerate(zip(names, networks)):
        config = Config(copy.deepcopy(open_config(network[0])._cfg_dict))
        config.merge_from_dict(options or {})
        dataset = DATASETS.build(config.test_dataloader.dataset)
        model = load_model(config, network[1]).to(device).eval()
        indices = _spread(len(dataset), people)
        person = _Person.read(dataset, indices[0])
        if places is None:
            height, width = person.crop.shape[:2]
            places = occluder_places(occluder, stride, width / height)
        kept, rows = [], []
        for done, index in enumerate(indices):
            person = _Person.read(dataset, index)
            if report is not None:
                report((number + done / len(indices)) / len(networks),
                       f'{name}: person {done + 1} of {len(indices)}')
            if person.known:
                kept.append(person)
                rows.append(_measure(model, person, places, batch_size))
        if not kept:
            raise ValueError(f'{name}: none of {len(indices)} people of the '
                             'test data has 3D joints')
        if first is None:
            first = kept
        else:
            _check_same_people(first, kept, names[0], name)
        clean.append([1000 * row.clean for row in rows])
        occluded.append([1000 * row.occluded for row in rows])
    return OcclusionMaps(
        list(names), np.array([p.index for p in first]),
        np.stack([p.crop for p in first]), places, np.array(clean, np.float32),
        np.array(occluded, np.float32),
        len(indices) - len(first))


def write_occlusion_maps(maps: OcclusionMaps, path: Union[str, Path]) -> Path:
    """Write all numbers to an .npz, whole or not at all; fields as in
    :class:`OcclusionMaps`."""
    return atomic_write(
        path, lambda name: np.savez_compressed(name, **maps._asdict()))


class _Person(NamedTuple):
    """One item of the test data."""
    index: int
    packed: dict
    crop: np.ndarray  # (H, W, 3)
    joints: torch.Tensor  # (K, 3)
    weights: torch.Tensor  # (K, )
    known: bool

    @classmethod
    def read(cls, dataset, index: int) -> '_Person':
        packed = dataset[index]
        labels = packed['data_samples'].gt_instance_labels
        joints, weights, flag = (
            torch.as_tensor(labels[key])[0]
            for key in ('joints_3d', 'joints_3d_weights', 'has_joints_3d'))
        crop = packed['inputs'].permute(1, 2, 0).numpy()
        hips = weights[list(J14_HIPS)] > 0
        return cls(index, packed, np.ascontiguousarray(crop), joints, weights,
                   bool(flag > 0 and hips.all()))


def _spread(length: int, number: int) -> List[int]:
    """Indices, evenly over all."""
    number = min(number, length)
    return [length * k // number for k in range(number)]


def _measure(model, person: _Person, places: np.ndarray, batch_size: int):
    batch = model.data_preprocessor(pseudo_collate([person.packed]), False)
    sample = batch['data_samples'][0]
    image = batch['inputs'][0]

    def predict(images: torch.Tensor) -> torch.Tensor:
        samples = model(
            images, [copy.deepcopy(sample) for _ in images], mode='predict')
        own = samples[0].metainfo.get('pred_body')
        if own is not None:  # networks of other kinds do not say
            check_same_body(own, samples[0].metainfo.get('label_body'),
                            'the network', 'labels have')
        return torch.cat(
            [torch.as_tensor(s.pred_instances.keypoints_3d) for s in samples])

    return measure_joint_errors(
        predict,
        image,
        person.joints.to(image.device),
        places,
        person.weights,
        batch_size=batch_size)


def _check_same_people(ours: List[_Person], theirs: List[_Person],
                       our_name: str, their_name: str) -> None:
    same = len(ours) == len(theirs) and all(
        a.index == b.index and torch.allclose(a.joints, b.joints, atol=1e-4)
        for a, b in zip(ours, theirs))
    if not same:
        raise ValueError(
            f'{our_name} and {their_name} have different test data: take '
            'configs of the same data set, or set it with --cfg-options')
