# MPI-INF-3DHP as P-STMO prepares it: 16 joints; the test set's valid frames.
mpi_train = dict(
    type='MPIINF3DHPSequenceDataset',
    data_root='data/3dhp/',
    ann_file='data_train_3dhp.npz')
mpi_test = dict(
    type='MPIINF3DHPSequenceDataset',
    data_root='data/3dhp/',
    ann_file='data_test_3dhp.npz')
