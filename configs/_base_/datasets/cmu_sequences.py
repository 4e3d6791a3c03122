# CMU motion capture at 30 of its 60 frames a second, seen by virtual cameras.
# The folder of cmu_mocap_train.npz and so on is data/cmu_mocap or
#
#   MPM_POSTOMETRO_MOCAP=some/folder python tools/train.py ...
folder = '{{$MPM_POSTOMETRO_MOCAP:data/cmu_mocap}}'

cmu_train = dict(
    type='MocapSequenceDataset',
    ann_file=f'{folder}/cmu_mocap_train.npz',
    frame_step=2)
cmu_val = dict(
    type='MocapSequenceDataset',
    ann_file=f'{folder}/cmu_mocap_val.npz',
    frame_step=2)
cmu_test = dict(
    type='MocapSequenceDataset',
    ann_file=f'{folder}/cmu_mocap_test.npz',
    frame_step=2)
