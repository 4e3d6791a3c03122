# MPM stage one on Human3.6M, MPI-INF-3DHP and AMASS together: the 16 joints
# that all have, three shared layers.
_base_ = [
    '../_base_/mpm_pretrain.py', '../_base_/datasets/h36m_sequences.py',
    '../_base_/datasets/3dhp_sequences.py'
]

model = dict(
    backbone=dict(num_joints=16, num_layers=3),
    heads={
        '2d': dict(num_joints=16),
        '3d': dict(num_joints=16)
    })
# Other seeds: clips of the same number are not masked alike.
clips = dict(seq_len=243, skeleton='h36m16', pipeline=_base_.train_pipeline)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(**_base_.h36m_train, **clips, frame_step=2),
            dict(**_base_.mpi_train, **clips, seed=1),
            dict(
                type='AMASSPoseDataset',
                ann_file='data/amass/amass.npz',
                seed=2,
                **clips),
        ]))
val_dataloader = dict(
    dataset=dict(
        **_base_.h36m_test, frame_step=2, clip_step=20, skeleton='h36m16'))
test_dataloader = dict(
    dataset=dict(**_base_.h36m_test, frame_step=2, skeleton='h36m16'))
