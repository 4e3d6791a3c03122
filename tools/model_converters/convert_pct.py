# Copyright (c) The mpm_postometro authors. All rights reserved.
r"""Turn released PCT checkpoints into ours, or ours back.

    python tools/model_converters/convert_pct.py swin_base.pth pct_base.pth
    python tools/model_converters/convert_pct.py --to-official \
        pct_base.pth swin_base_again.pth

Reads the files of PCT's three trainings: heatmaps, tokenizer, classifier.
Files of SwinV2's own pre-training (Microsoft's) become a backbone, for

    model.backbone.init_cfg.type=Pretrained \
    model.backbone.init_cfg.prefix=backbone. \
    model.backbone.init_cfg.checkpoint=FILE

What is not known by name and shape is refused, and no code from a file is
run. The backbone in a file of the tokenizer is dropped, as that training does
not use it. Needs timm.
"""
import argparse
from pathlib import Path
from typing import List

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mpm_postometro.apis.weight_conversion import (dashed, end_on_bad_weights,
                                                   fitting_configs,
                                                   print_weights,
                                                   write_weights)
from mpm_postometro.compat import load_state_dict_file
from mpm_postometro.models.pose_estimators.official_pct_keys import (
    KINDS, PCTWeights, check_fits, from_official_pct_state,
    to_official_pct_state)

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, help='checkpoint to read')
    parser.add_argument('target', type=Path, help='checkpoint to write')
    parser.add_argument(
        '--kind',
        choices=KINDS,
        help='what to take out of the file; by default what its names tell')
    parser.add_argument(
        '--config',
        type=Path,
        help='fail unless the weights fit the model of this config strictly; '
        'with --to-official, the windows of its backbone instead of the '
        'published ones')
    parser.add_argument(
        '--to-official',
        action='store_true',
        help='from our names to the published ones')
    args = parser.parse_args()
    if args.to_official and args.kind:
        parser.error('--kind picks from published files, not from ours')
    return args


def fitting(weights: PCTWeights) -> List[str]:
    """Our configs into which weights load strictly."""
    # A backbone alone is where the heatmap training starts from.
    stage = 'heatmap_*' if weights.kind in (
        'heatmap', 'backbone') else f'pct_{weights.kind}*'
    return fitting_configs(CONFIGS / 'pct', f'{stage}.py',
                           lambda model: check_fits(weights, model))


def describe(weights: PCTWeights) -> List[str]:
    """What was found, one line for each part."""
    lines = [f'{weights.kind}, {len(weights.state_dict)} tensors']
    for name, cfg in weights.parts.items():
        if cfg['type'] == 'TimmSwinV2':
            text = (f'SwinV2, {cfg["embed_dim"]} channels, '
                    f'{dashed(cfg["depths"])} blocks')
            if name in weights.windows:
                windows, pretrained = weights.windows[name]
                text += (f', windows {dashed(windows)} '
                         f'(pre-training {dashed(pretrained)})')
            if f'{name}.norm.weight' not in weights.state_dict:
                text += ', without its last norm'
            lines.append(f'{name}: {text}')
        elif cfg['type'] == 'HeatmapHead':
            lines.append(f'{name}: heatmaps of {cfg["out_channels"]} joints, '
                         f'{dashed(cfg["deconv_out_channels"])} channels')
        elif cfg['type'] == 'PCTHead':
            lines.append(
                f'{name}: classifier, {dashed(cfg["feat_size"], "x")} '
                f'cells of {cfg["in_channels"]} channels')
        tokenizer = cfg.get('tokenizer', cfg)
        if tokenizer['type'] == 'PCTTokenizer':
            lines.append(f'tokenizer: {tokenizer["num_joints"]} joints, '
                         f'{tokenizer["num_tokens"]} tokens, '
                         f'{tokenizer["num_codes"]} codes of '
                         f'{tokenizer["token_dim"]} channels, guide ratio '
                         f'{tokenizer.get("guide_ratio", 0):g}')
    if weights.dropped:
        lines.append(f'dropped: {len(weights.dropped)} tensors, '
                     f'{", ".join(_families(weights.dropped))}')
    return lines


def _families(names: List[str]) -> List[str]:
    """Names up to their first dot, once each."""
    return list(
        dict.fromkeys(
            name.split('.')[0] + ('.*' if '.' in name else '')
            for name in names))


def main() -> None:
    args = parse_args()
    init_default_scope('mmpose')
    model = Config.fromfile(args.config).model if args.config else None
    with end_on_bad_weights(args.source):
        state = load_state_dict_file(str(args.source))
        if args.to_official:
            windows = {}
            if model is not None:
                # A guided tokenizer has the frozen one alone.
                backbone = model.get('backbone') or model.get(
                    'guide_backbone', {})
                windows = {
                    name: tuple(backbone[name])
                    for name in ('window_size', 'pretrained_window_sizes')
                    if name in backbone
                }
            kind, state = to_official_pct_state(state, **windows)
            weights = from_official_pct_state(state)
        else:
            weights = from_official_pct_state(state, args.kind)
            kind, state = weights.kind, weights.state_dict
        if model is not None:
            check_fits(weights, model)
    print_weights(args.source, describe(weights),
                  [str(args.config)] if args.config else fitting(weights))
    write_weights(args.target, state, kind, args.source)


if __name__ == '__main__':
    main()
