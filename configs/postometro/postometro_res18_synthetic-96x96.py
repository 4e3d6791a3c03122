# PostoMETRO, small, on the built-in data. Set model.pose_branch_checkpoint to
# the checkpoint of the classifier, and model.backbone.init_cfg to the backbone
# trained on heatmaps (the paper starts from backbones trained on 2D pose). See
# docs/training.md.
_base_ = [
    '../_base_/short_runtime.py',
    '../_base_/datasets/synthetic_body_small.py',
    '../_base_/models/pct_classifier_small.py',
]

model = dict(
    type='MeshEstimator',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone={{_base_.frozen_backbone}},
    pose_branch={{_base_.classifier}},
    pose_branch_checkpoint=None,
    body={{_base_.body}},
    head=dict(
        type='PostoMETROHead',
        in_channels={{_base_.feat_channels}},
        token_dim=64,
        num_tokens=34,
        hidden_dims=(64, 32),
        feedforward_dims=(128, 64),
        num_layers=1,
        num_heads=(4, 2),
        dropout=0.0,
        pose_modulator=dict(),
        template_init=True,
        output_init_std=0.01,
        camera_init_scale=0.9))

train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=dict(lr=4e-3))

val_evaluator = dict(type='MeshMetric', body={{_base_.body}})
test_evaluator = val_evaluator
default_hooks = dict(visualization=dict(type='MeshVisualizationHook'))
