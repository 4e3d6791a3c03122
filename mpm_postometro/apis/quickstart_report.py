# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The last stage of the quick start: test on held-out images, and show."""
import glob
import os.path as osp
import re
from typing import Callable, Dict, List, NamedTuple, Tuple

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmpose.registry import DATASETS

from mpm_postometro.bodies import BodyModel, load_body
from mpm_postometro.evaluation.baselines import constant_baselines
from mpm_postometro.files import write_json
from mpm_postometro.visualization import (Curve, Image, Stage, Summary, Table,
                                          ViewerMesh, overlay_perspective,
                                          overlay_weak_perspective,
                                          read_scalars, render_view,
                                          stack_panels, write_report)
from .quickstart import COMPARED, METRICS, STAGES

NUM_PICTURES = 8
NUM_MESHES = 4
PICTURE_SIZE = 256

ABOUT = """Image to 3D human mesh, trained from scratch on rendered people: a \
pose tokenizer (PCT), a classifier that reads pose tokens from an image, and \
a mesh transformer that joins image tokens with these pose tokens \
(PostoMETRO). "Image only" is the same transformer without pose tokens. \
Image tokens and pose tokens come from one backbone, which heatmaps taught to \
find joints and which stays frozen after that; the papers train the backbone \
of the mesh transformer on. "Best constant" never looks at the image: the \
mean person of the training set (MPJPE, MPVPE), and the mean pose in the \
body's own frame (PA-MPJPE)."""


class Tested(NamedTuple):
    """A trained network and how it did."""
    metrics: Dict[str, float]
    model: torch.nn.Module
    dataset: torch.utils.data.Dataset


def evaluate_and_report(quickstart, report: Callable) -> dict:
    """Test both networks, measure the constants, write report and summary.

    Both are written into the folder of the stage.

    Args:
        quickstart (QuickStart): Knows configs, checkpoints and times.
        report (callable): Takes the fraction done and a text.

    Returns:
        dict: The summary, as in ``summary.json``.
    """
    stages = {stage.name: stage for stage in STAGES}
    tested: Dict[str, Tested] = {}
    with quickstart.quiet('evaluation'):
        for number, name in enumerate(COMPARED):
            report(0.3 * number, f'testing {COMPARED[name]}')
            tested[name] = _test(quickstart, stages[name])
        report(0.6, 'measuring the constants')
        dataset = tested['postometro'].dataset
        train = _train_dataset(quickstart, stages['postometro'])
        cfg = quickstart.config(stages['postometro'])
        body = load_body(**cfg.model.body)
        constant = constant_baselines(train.load_parameters(),
                                      dataset.load_parameters(), body)
        report(0.8, 'drawing')
        images, meshes = _pictures(tested, body)

    summary = dict(constant={key: constant[key] for key in METRICS})
    for name in COMPARED:
        metrics = tested[name].metrics
        summary[name] = {key: metrics[f'mesh/{key}'] for key in METRICS}
    times = quickstart.times()
    summary['seconds'] = round(quickstart.setup_seconds + sum(times.values()),
                               1)
    summary['images'] = len(dataset)

    folder = quickstart.folder('evaluation')
    write_report(
        osp.join(folder, 'report.html'),
        title='mpm_postometro: quick start',
        summary=Summary(ABOUT, _headline(summary)),
        stages=_stages(quickstart, times),
        curves=_curves(quickstart),
        tables=[_result_table(summary),
                _occlusion_table(tested)],
        images=images,
        images_text='Held-out people, from little to much occlusion: input, '
        'ground truth, image only, PostoMETRO, and PostoMETRO from the side. '
        'The networks are drawn with the cameras they predict.',
        meshes=meshes,
        meshes_text='Drag to turn, wheel to zoom.')
    write_json(osp.join(folder, 'summary.json'), summary)
    return summary


def _test(quickstart, stage) -> Tested:
    cfg = quickstart.config(stage)
    cfg.work_dir = osp.join(quickstart.folder('evaluation'), stage.name)
    cfg.load_from = quickstart.checkpoint(stage.name)
    cfg.model.backbone.init_cfg = None
    cfg.visualizer.name = f'test_{cfg.visualizer.name}'
    if 'pose_branch_checkpoint' in cfg.model:
        # The checkpoint of the network holds its pose branch.
        cfg.model.pose_branch_checkpoint = None
    cfg.test_evaluator.dump = osp.join(
        quickstart.folder('evaluation'), f'{stage.name}.npz')
    runner = Runner.from_cfg(cfg)
    metrics = runner.test()
    return Tested(metrics, runner.model, runner.test_dataloader.dataset)


def _train_dataset(quickstart, stage):
    return DATASETS.build(quickstart.config(stage).train_dataloader.dataset)


# ------------------------------------------------------------ figures, tables
def _headline(summary: dict) -> dict:
    figures = {}
    for key, title in METRICS.items():
        value = summary['postometro'][key]
        ratio = value / summary['constant'][key]
        figures[f'{title} of PostoMETRO, mm ({ratio:.2f} of the best '
                'constant)'] = value
    figures['held-out images'] = summary['images']
    figures['minutes in all'] = round(summary['seconds'] / 60, 1)
    return figures


def _result_table(summary: dict) -> Table:
    rows = []
    for name, title in dict(constant='best constant', **COMPARED).items():
        row = [title]
        for key in METRICS:
            row += [
                summary[name][key],
                f'{summary[name][key] / summary["constant"][key]:.2f}'
            ]
        rows.append(row)
    header = ['']
    for title in METRICS.values():
        header += [f'{title} (mm)', 'ratio']
    return Table(
        f'On {summary["images"]} held-out images',
        header,
        rows,
        note='The ratio is to the best constant prediction: less is better.',
        best=len(rows) - 1)


def _occlusion_table(tested: Dict[str, Tested]) -> Table:
    first = next(iter(tested.values())).metrics
    bins = sorted({
        match.group(1)
        for match in (re.match(r'mesh/persons_occ_(.*)', k) for k in first)
        if match
    })
    rows = []
    for name in bins:
        row = [name, int(first[f'mesh/persons_occ_{name}'])]
        for key in ('mpjpe', 'pa_mpjpe'):
            row += [
                tested[model].metrics.get(f'mesh/{key}_occ_{name}')
                for model in COMPARED
            ]
        rows.append(row)
    header = ['hidden part of the person', 'images']
    for key in ('mpjpe', 'pa_mpjpe'):
        header += [f'{METRICS[key]}, {title}' for title in COMPARED.values()]
    return Table('By occlusion (mm)', header, rows)


def _stages(quickstart, times: Dict[str, float]) -> List[Stage]:
    texts = dict(
        data='people rendered into a cache on disk',
        heatmap='a backbone learns to find joints',
        tokenizer='PCT stage one: 17 joints to tokens and back',
        classifier='PCT stage two: image to tokens',
        image_only='mesh transformer on image tokens, the baseline',
        postometro='mesh transformer on image and frozen pose tokens',
        evaluation='both networks and the constants on held-out images')
    stages = [Stage(name, times[name], text) for name, text in texts.items()]
    if quickstart.setup_seconds:
        stages.insert(0,
                      Stage('set-up', quickstart.setup_seconds, 'environment'))
    return stages


def _curves(quickstart) -> List[Curve]:
    curves, validation = [], {}
    for stage in STAGES:
        if not stage.config:
            continue
        folder = quickstart.folder(stage.name)
        scalars = _all_scalars(folder)
        if 'loss' in scalars:
            curves.append(
                Curve(
                    f'Training loss: {stage.title}', {'loss': scalars['loss']},
                    x_label='iteration',
                    smooth=True,
                    log_y=True))
        if 'mesh/mpjpe' in scalars:
            validation[stage.title] = scalars['mesh/mpjpe']
    if validation:
        curves.append(
            Curve(
                'Validation MPJPE', validation, x_label='epoch', y_label='mm'))
    return curves


def _all_scalars(folder: str) -> dict:
    """The curves of a stage; a resumed one logs into several folders."""
    merged: Dict[str, dict] = {}
    pattern = osp.join(folder, '*', 'vis_data', 'scalars.json')
    for path in sorted(glob.glob(pattern)):
        for name, (steps, values) in read_scalars(path).items():
            # A step that was done again replaces what was lost.
            merged.setdefault(name, {}).update(zip(steps, values))
    return {
        name: (list(sorted(points)), [points[s] for s in sorted(points)])
        for name, points in merged.items()
    }


# ------------------------------------------------------------------- pictures
@torch.no_grad()
def _pictures(tested: Dict[str, Tested], body: BodyModel):
    dataset = tested['postometro'].dataset
    chosen = _spread_over_occlusion(dataset, NUM_PICTURES)
    batch = pseudo_collate([dataset[i] for i in chosen])
    outputs = {
        name: [s.cpu() for s in t.model.test_step(batch)]
        for name, t in tested.items()
    }
    faces = body.faces.cpu().numpy()
    images, meshes = [], []
    for i, index in enumerate(chosen):
        sample = batch['data_samples'][i]
        crop = batch['inputs'][i].numpy().transpose(1, 2, 0)
        crop = np.ascontiguousarray(crop)
        mesh, intrinsics = true_mesh(dataset, index, body)
        pelvis = body.regress_joints(torch.from_numpy(mesh)[None], 'h36m17')
        truth = mesh - pelvis[0, :1].numpy()
        large = enlarge(crop, PICTURE_SIZE)
        zoom = PICTURE_SIZE / crop.shape[0]
        panels = [large]
        panels.append(
            overlay_perspective(large, mesh, faces,
                                np.diag([zoom, zoom, 1]) @ intrinsics))
        predictions = {}
        for name in COMPARED:
            pred = outputs[name][i].pred_instances
            vertices = pred.vertices[0].numpy()
            predictions[name] = vertices
            panels.append(
                overlay_weak_perspective(large, vertices, faces,
                                         pred.camera[0].numpy()))
        panels.append(
            render_view(predictions['postometro'], faces, 'side',
                        large.shape[0]))
        occlusion = float(np.ravel(sample.gt_instances.occlusion)[0])
        caption = f'image {index}, {100 * occlusion:.0f} % hidden'
        images.append(Image(stack_panels(panels), caption))
        if i % max(NUM_PICTURES // NUM_MESHES, 1) == 0:
            meshes += [
                ViewerMesh('ground truth', truth, faces, caption,
                           (150, 160, 170)),
                *(ViewerMesh(COMPARED[name], predictions[name], faces, caption,
                             color)
                  for name, color in (('image_only', (222, 158, 84)),
                                      ('postometro', (84, 140, 214)))),
            ]
    return images, meshes


def _spread_over_occlusion(dataset, count: int) -> List[int]:
    """Indices of people from little to much occlusion."""
    pool = range(min(len(dataset), 200))
    occlusion = [
        float(np.ravel(dataset.get_data_info(i)['occlusion'])[0]) for i in pool
    ]
    order = np.argsort(occlusion, kind='stable')
    places = np.linspace(0, len(order) - 1, min(count, len(order)))
    return [int(order[int(round(p))]) for p in places]


def enlarge(crop: np.ndarray, size: int) -> np.ndarray:
    """Scale a crop so that its pixel (x, y) gets to (z x, z y).

    Cameras of the crop scale alike. (``cv2.resize`` would add (z - 1) / 2.)

    Args:
        crop (np.ndarray): (S, S, 3) uint8.
        size (int): The new side; the zoom z is ``size / S``.

    Returns:
        np.ndarray: (size, size, 3) uint8.
    """
    zoom = size / crop.shape[0]
    matrix = np.array([[zoom, 0, 0], [0, zoom, 0]])
    return cv2.warpAffine(
        crop,
        matrix, (size, size),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE)


@torch.no_grad()
def true_mesh(dataset, index: int,
              body: BodyModel) -> Tuple[np.ndarray, np.ndarray]:
    """The person of an item, as the camera sees it.

    Args:
        dataset (BaseDataset): Its pipeline crops, and packs last.
        index (int): Which item.
        body (BodyModel): The body of the labels.

    Returns:
        tuple[np.ndarray, np.ndarray]: Vertices in the camera frame, metres,
        (V, 3), and the intrinsics of the crop, pixels, (3, 3).
    """
    sample = dataset.get_data_info(index)
    # Packed samples have no camera: nothing that is trained wants it.
    for transform in dataset.pipeline.transforms[:-1]:
        sample = transform(sample)
    parameters = ('betas', 'body_pose', 'global_orient', 'transl')
    vertices = body(*(torch.from_numpy(sample[key])
                      for key in parameters)).vertices
    return vertices[0].numpy(), sample['intrinsics'][0]
