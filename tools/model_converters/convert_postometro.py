# Copyright (c) The mpm_postometro authors. All rights reserved.
r"""Turn checkpoints of FastMETRO or of PostoMETRO's authors into ours, or
ours back.

    python tools/model_converters/convert_postometro.py \
        FastMETRO-L-H64_3dpw_state_dict.bin fastmetro_l_h64_3dpw.pth
    python tools/model_converters/convert_postometro.py --to-official \
        --config configs/postometro/fastmetro-l_hrnet-w64_224x224.py \
        fastmetro_l_h64_3dpw.pth again.bin

What is not known by name and shape is refused, and no code from a file is
run. What no prediction needs is left out and named, the regressor of body
parameters (smpl_parameter_regressor.*) among it. PostoMETRO's pose branch
needs timm.
"""
import argparse
from pathlib import Path
from typing import List

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mpm_postometro.apis.weight_conversion import (dashed, end_on_bad_weights,
                                                   fitting_configs,
                                                   print_weights,
                                                   write_weights)
from mpm_postometro.compat import load_state_dict_file
from mpm_postometro.files import atomic_write
from mpm_postometro.models.pose_estimators import (MeshWeights,
                                                   check_mesh_fits,
                                                   from_official_mesh_state,
                                                   to_official_mesh_state)

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# Those of the networks as published.
PUBLISHED = dict(
    fastmetro='fastmetro-*_224x224.py',
    postometro='postometro-official_*_256x256.py')


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, help='checkpoint to read')
    parser.add_argument('target', type=Path, help='checkpoint to write')
    parser.add_argument(
        '--config',
        type=Path,
        help='fail unless the weights fit the model of this config strictly '
        'and it is the published network with them; needed with '
        '--to-official, as not all of that shows in the weights')
    parser.add_argument(
        '--head-only',
        action='store_true',
        help='leave out backbone and pose branch: for backbones that are '
        'neither a ResNet nor an HRNet')
    parser.add_argument(
        '--to-official',
        action='store_true',
        help='from our names to the published ones')
    args = parser.parse_args()
    if args.to_official and args.config is None:
        parser.error('--to-official needs --config, that of the weights')
    return args


def fitting(weights: MeshWeights) -> List[str]:
    """Our configs of published networks into which weights load strictly."""

    def check(model) -> None:
        model.body = dict()  # whose mesh is as large as SMPL's
        check_mesh_fits(weights, model)

    return fitting_configs(CONFIGS / 'postometro', PUBLISHED[weights.kind],
                           check)


def describe(weights: MeshWeights) -> List[str]:
    """What was found, one line for each part."""
    lines = [f'{weights.kind}, {len(weights.state_dict)} tensors']
    backbone = weights.parts.get('backbone', dict(type=None))
    if backbone['type'] == 'ResNet':
        lines.append(f'backbone: ResNet-{backbone["depth"]}')
    if backbone['type'] == 'HRNet':
        width = backbone['extra']['stage4']['num_channels'][0]
        lines.append(f'backbone: HRNet-W{width}' + ', as for classification' *
                     ('neck' in weights.parts))
    head = weights.parts['head']
    state = weights.state_dict
    middle, coarse = state['head.upsampler.steps.0.weight'].shape
    layers = head['num_layers']
    lines.append(
        f'head: {layers} layer{"s" * (layers > 1)} of '
        f'{dashed(head["hidden_dims"])} channels, map of '
        f'{head["in_channels"]} channels, {head["num_joints"]} joints, '
        f'{coarse} -> {middle} vertices')
    if head['use_pose_tokens']:
        lines.append(f'pose modulator: {head["num_tokens"]} tokens of '
                     f'{head["token_dim"]} channels, '
                     f'{head["pose_modulator"]["num_blocks"]} mixers')
    if weights.pose_branch is not None:
        parts = weights.pose_branch.parts
        guide_ratio = parts['head']['tokenizer'].get('guide_ratio', 0)
        lines.append(
            f'pose branch: SwinV2, {parts["backbone"]["embed_dim"]} channels, '
            f'{dashed(parts["backbone"]["depths"])} blocks; guide ratio '
            f'{guide_ratio:g}')
    if weights.dropped:
        families = dict.fromkeys('.'.join(name.split('.')[:2]) + '.*' *
                                 (name.count('.') > 1)
                                 for name in weights.dropped)
        lines.append(f'left out, as no prediction needs it: '
                     f'{len(weights.dropped)} tensors, {", ".join(families)}')
    return lines


def main() -> None:
    args = parse_args()
    init_default_scope('mmpose')
    model = Config.fromfile(args.config).model if args.config else None
    with end_on_bad_weights(args.source):
        state = load_state_dict_file(str(args.source))
        if args.to_official:
            swin = (model.get('pose_branch') or {}).get('backbone', {})
            windows = {
                name: tuple(swin[name])
                for name in ('window_size', 'pretrained_window_sizes')
                if name in swin
            }
            kind, state = to_official_mesh_state(state, args.head_only,
                                                 **windows)
            weights = from_official_mesh_state(state, args.head_only)
            weights = weights._replace(dropped=[])  # not from what is written
        else:
            weights = from_official_mesh_state(state, args.head_only)
            kind, state = weights.kind, weights.state_dict
        if model is not None:
            check_mesh_fits(weights, model)
    print_weights(args.source, describe(weights),
                  [str(args.config)] if args.config else fitting(weights))
    if args.to_official:  # bare, as FastMETRO's code loads it
        atomic_write(args.target, lambda name: torch.save(state, name))
        print(f'wrote {args.target}')
    else:
        write_weights(args.target, state, kind, args.source)
        print('Its mesh is SMPL\'s: name the body with MPM_POSTOMETRO_BODY '
              '(docs/body.md).')


if __name__ == '__main__':
    main()
