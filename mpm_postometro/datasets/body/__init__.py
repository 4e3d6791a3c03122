# Copyright (c) The mpm_postometro authors. All rights reserved.
from .amass_pose_dataset import AMASSPoseDataset
from .detection_sequence_dataset import DetectionSequenceDataset
from .h36m_annotation_dataset import H36MAnnotationDataset
from .h36m_sequence_dataset import H36MSequenceDataset
from .mocap_keypoint_dataset import MocapKeypointDataset
from .mocap_sequence_dataset import MocapSequenceDataset
from .mpi_inf_3dhp_dataset import MPIINF3DHPSequenceDataset
from .person_dataset import MergedPersonDataset, PersonDataset
from .person_table import PersonTable
from .pose_sequence_dataset import PoseSequenceDataset
from .synthetic_dataset import SyntheticBodyDataset

__all__ = [
    'AMASSPoseDataset', 'DetectionSequenceDataset', 'H36MAnnotationDataset',
    'H36MSequenceDataset', 'MPIINF3DHPSequenceDataset', 'MergedPersonDataset',
    'MocapKeypointDataset', 'MocapSequenceDataset', 'PersonDataset',
    'PersonTable', 'PoseSequenceDataset', 'SyntheticBodyDataset'
]
