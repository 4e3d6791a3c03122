# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Train small MPMs on motion capture side by side, and compare them.

Four studies; docs/mpm_results.md tells what they found:

- ``comparison``: lifting by the mean pose, a linear map, MMPose's TCN, MPM
  from scratch and MPM from a pre-training, from true and from noisy 2D.
- ``masking``: lifting against what was hidden in the pre-training.
- ``occluded``: lifting with two limbs hidden.
- ``completion``: 3D poses of which a limb, or some joints for a while, are
  missing.

export MPM_POSTOMETRO_MOCAP=some/folder
python tools/analysis_tools/mpm_study.py comparison --seeds 0 1

Every run is a config with options, trained by MMEngine's Runner in this
process. What is finished is reused, unless its config has changed; the
studies share runs. Tables and plots are written to the work directory.
"""
import argparse
import os.path as osp
from typing import Callable, List, Optional, Sequence

from mmengine.config import Config
from study import Run, Study

LIFT = 'mpm/mpm_lift_small_cmu-27f.py'
FINETUNE = 'mpm/mpm_finetune_small_cmu-27f.py'
PRETRAIN = 'mpm/mpm_pretrain_small_cmu-27f.py'
TCN = 'mpm/tcn_small_cmu-27f.py'
OCCLUDED = 'mpm/mpm_occluded_small_cmu-27f.py'
COMPLETION = 'mpm/mpm_completion_small_cmu-27f.py'

#: The better of two to four on the validation set, after 25,600 clips; batches
#: of 32 were better than of 64 and 128.
BATCH_SIZE = 32
RATES = {
    LIFT: 1e-3,
    FINETUNE: 1e-3,
    PRETRAIN: 2e-3,
    TCN: 1.5e-3,
    OCCLUDED: 1e-3,
    COMPLETION: 1e-3
}

#: Option that takes the network of a pre-training.
START = 'model.backbone.init_cfg.checkpoint'
#: Kinds of 2D.
KINDS = ('true', 'noisy')
#: Hidden frames and joints in the ablation.
FRAME_RATIOS = (0., 0.3, 0.6, 0.8)
NUM_JOINTS = (0, 2, 5)


# ------------------------------- what is run --------------------------------
def add_noise(cfg: Config) -> None:
    """2D as a detector finds it."""
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.pipeline.insert(
            0, dict(type='DetectionNoise'))


def hide(frame_ratio: float, num_joints: int) -> Callable[[Config], None]:
    """Another masking of the pre-training."""

    def change(cfg: Config) -> None:
        for split in ('train', 'val', 'test'):
            for step in cfg[f'{split}_dataloader'].dataset.pipeline:
                if step['type'] == 'RandomSpatioTemporalMask':
                    step.update(frame_ratio=frame_ratio, num_joints=num_joints)

    return change


def make_run(args, name: str, config: str, epochs: int, seed: int,
             **kwargs) -> Run:
    """A training of some epochs, each of which sees every clip."""
    options = {
        'train_dataloader.batch_size': BATCH_SIZE,
        'train_dataloader.dataset.clip_step': args.clip_step,
        'val_dataloader.dataset.clip_step': args.val_step,
        'test_dataloader.dataset.clip_step': args.test_step,
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': epochs,
        'default_hooks.checkpoint': dict(interval=1, max_keep_ckpts=1),
        'optim_wrapper.optimizer.lr': RATES[config],
        'optim_wrapper.optimizer.fused': True,
        'randomness': dict(seed=seed),
        **kwargs.pop('options', {})
    }
    labels = dict(name=name, epochs=epochs, seed=seed)
    labels.update(kwargs.pop('labels', {}))
    return Run(name, config, options, labels, epochs, **kwargs)


def pretraining(args, seed: int) -> Run:
    """What comparison, occluded lifting and completion start from."""
    return make_run(args, f'pretrain_seed{seed}', PRETRAIN,
                    args.pretrain_epochs, seed)


def plan_comparison(args) -> List[Run]:
    """The same networks from both kinds of 2D."""
    both = args.pretrain_epochs + args.epochs
    rows = (('tcn', TCN, args.epochs), ('scratch', LIFT, args.epochs),
            ('finetuned', FINETUNE, args.epochs), ('longer', LIFT, both))
    runs = []
    for seed in args.seeds:
        first = pretraining(args, seed)
        runs.append(first)
        for kind in KINDS:
            for row, config, epochs in rows:
                needs = {START: first.name} if row == 'finetuned' else {}
                runs.append(
                    make_run(
                        args,
                        f'{row}_{kind}_seed{seed}',
                        config,
                        epochs,
                        seed,
                        labels=dict(row=row, kind=kind),
                        needs=needs,
                        change=add_noise if kind == 'noisy' else None))
    return runs


def plan_masking(args) -> List[Run]:
    """Short pre-trainings, each with a short fine-tuning."""
    epochs, seed = args.ablation_epochs, args.seeds[0]
    runs = [
        make_run(
            args,
            f'masking_scratch_seed{seed}',
            LIFT,
            epochs,
            seed,
            labels=dict(row='scratch'))
    ]
    for ratio in FRAME_RATIOS:
        for joints in NUM_JOINTS:
            mask = f'masking_{ratio}_{joints}'
            first = make_run(
                args,
                f'{mask}_pretrain_seed{seed}',
                PRETRAIN,
                epochs,
                seed,
                labels=dict(row='pretrain'),
                change=hide(ratio, joints))
            runs += [
                first,
                make_run(
                    args,
                    f'{mask}_finetuned_seed{seed}',
                    FINETUNE,
                    epochs,
                    seed,
                    labels=dict(row='finetuned', ratio=ratio, joints=joints),
                    needs={START: first.name})
            ]
    return runs


def plan_hidden(args, task: str, config: str) -> List[Run]:
    """From scratch, and from the pre-training."""
    seed = args.seeds[0]
    first = pretraining(args, seed)
    return [
        first,
        make_run(
            args,
            f'{task}_finetuned_seed{seed}',
            config,
            args.epochs,
            seed,
            labels=dict(row='finetuned'),
            needs={START: first.name}),
        make_run(
            args,
            f'{task}_scratch_seed{seed}',
            config,
            args.epochs,
            seed,
            labels=dict(row='scratch'),
            options={'model.backbone.init_cfg': None})
    ]


def plan_occluded(args) -> List[Run]:
    """Two limbs hidden; beside it, lifters that nothing is hidden from."""
    seed = args.seeds[0]
    lifters = [
        run for run in plan_comparison(args)
        if run.labels['seed'] == seed and run.labels.get('kind') == 'true'
        and run.labels['row'] in ('scratch', 'finetuned')
    ]
    return plan_hidden(args, 'occluded', OCCLUDED) + lifters


def plan_completion(args) -> List[Run]:
    """A limb hidden."""
    return plan_hidden(args, 'completion', COMPLETION)


STUDIES = dict(
    comparison=plan_comparison,
    masking=plan_masking,
    occluded=plan_occluded,
    completion=plan_completion)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('study', choices=STUDIES)
    parser.add_argument('--work-dir', default='work_dirs/mpm_study')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    for name, default, text in (
        ('epochs', 2, 'of lifting and completion'), ('pretrain-epochs', 3,
                                                     'of the pre-training'),
        ('ablation-epochs', 1, 'of each stage in the study of masks'),
        ('clip-step', 15, 'frames from one clip of training to the next'),
        ('val-step', 20, 'the same in validation'), ('test-step', 4,
                                                     'the same in the test')):
        parser.add_argument(f'--{name}', type=int, default=default, help=text)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    args = parse_args(argv)
    plan = STUDIES[args.study]
    Study(osp.join(args.work_dir, 'runs'), plan(args)).run()


if __name__ == '__main__':
    main()
