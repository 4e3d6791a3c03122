# Human3.6M as VideoPose3D prepares it, with CPN's detections. All of S9 and
# S11 is the test set, of which validation sees every 20th frame.
h36m_train = dict(
    type='H36MSequenceDataset',
    data_root='data/h36m/',
    ann_file='data_3d_h36m.npz',
    keypoint_file='data_2d_h36m_cpn_ft_h36m_dbb.npz',
    subjects=('S1', 'S5', 'S6', 'S7', 'S8'))
h36m_test = dict(
    type='H36MSequenceDataset',
    data_root='data/h36m/',
    ann_file='data_3d_h36m.npz',
    keypoint_file='data_2d_h36m_cpn_ft_h36m_dbb.npz',
    subjects=('S9', 'S11'))
