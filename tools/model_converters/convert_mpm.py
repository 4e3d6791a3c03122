# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Turn .pth files of MPM's reference implementation into ours, or ours back.

    python tools/model_converters/convert_mpm.py pretrained.pth mpm.pth
    python tools/model_converters/convert_mpm.py lifting.pth mpm_lift.pth \
        --refinement refine.pth
    python tools/model_converters/convert_mpm.py --to-official \
        mpm_lift.pth lifting_again.pth --refinement refine_again.pth

Reads the networks of pre-training, completion and lifting, and beside the
last that of the refinement, which the reference saves in a file of its own.
What is not known by name and shape is refused, and no code from a file is
run. The norms that the reference has but never uses are dropped.
"""
import argparse
from pathlib import Path

from mmengine.registry import init_default_scope

from mpm_postometro.apis.weight_conversion import (dashed, end_on_bad_weights,
                                                   write_weights)
from mpm_postometro.compat import load_state_dict_file
from mpm_postometro.models.pose_estimators.official_mpm_keys import (
    from_official_mpm_state, model_config, to_official_mpm_state)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, help='checkpoint to read')
    parser.add_argument('target', type=Path, help='checkpoint to write')
    parser.add_argument(
        '--refinement',
        type=Path,
        help='file of the refinement, beside that of the lifting network: to '
        'read, or with --to-official to write')
    parser.add_argument(
        '--to-official',
        action='store_true',
        help='from our names to those of the reference')
    return parser.parse_args()


def read(path: Path, convert):
    """Weights of a file after conversion; errors name the file."""
    with end_on_bad_weights(path):
        return convert(load_state_dict_file(str(path)))


def from_official(args):
    """Kind, our state dict and what was dropped."""
    weights = read(args.source, from_official_mpm_state)
    if args.refinement is None:
        return weights
    refinement = read(args.refinement, from_official_mpm_state)
    if (weights.kind, refinement.kind) != ('lifting', 'refinement'):
        raise SystemExit(
            'expected a lifting network and a refinement, but '
            f'{args.source} is of kind {weights.kind} and {args.refinement} '
            f'of kind {refinement.kind}')
    joints = [
        part['num_joints']
        for part in (model_config(weights.state_dict)['backbone'],
                     model_config(refinement.state_dict)['refiner'])
    ]
    if joints[0] != joints[1]:
        raise SystemExit(f'{args.source} is of {joints[0]} joints, but '
                         f'{args.refinement} of {joints[1]}')
    return weights._replace(state_dict={
        **weights.state_dict,
        **refinement.state_dict
    })


def describe(state) -> str:
    """Sizes in words."""
    cfg = model_config(state)
    words = []
    if 'backbone' in cfg:
        net = cfg['backbone']
        words.append(
            f'{net["num_frames"]} frames of {net["num_joints"]} joints, '
            f'{" and ".join(net["modalities"])}, {net["num_layers"]} layers '
            f'of {net["channels"]} channels')
        for target, head in cfg['heads'].items():
            if head['type'] == 'MPMLiftingHead':
                words.append(f'strides {dashed(head["strides"])}')
            else:
                layers = head['num_layers']
                words.append(f'decoder of {target}, {layers} layer' + 's' *
                             (layers > 1))
    if 'refiner' in cfg:
        words.append('refinement with '
                     f'{cfg["refiner"]["hidden_channels"]} channels')
    return '; '.join(words)


def main() -> None:
    args = parse_args()
    init_default_scope('mmpose')
    if args.to_official:
        kind, state, refinement = read(args.source, to_official_mpm_state)
        if bool(refinement) != (args.refinement is not None):
            raise SystemExit(
                f'{args.source} has {"a" if refinement else "no"} refinement: '
                f'{"give" if refinement else "leave out"} --refinement FILE')
        described = from_official_mpm_state(state).state_dict
        if refinement:
            described.update(from_official_mpm_state(refinement).state_dict)
    else:
        weights = from_official(args)
        kind, state, refinement = weights.kind, weights.state_dict, None
        described = state
    print(f'{args.source}: {kind}, {len(state)} tensors\n'
          f'  {describe(described)}')
    if not args.to_official and weights.dropped:
        print(f'  dropped: {", ".join(weights.dropped)}')
    write_weights(args.target, state, kind, args.source)
    if refinement:
        write_weights(args.refinement, refinement, 'refinement', args.source)


if __name__ == '__main__':
    main()
