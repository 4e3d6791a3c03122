# Copyright (c) The mpm_postometro authors. All rights reserved.
from .amass_pose_dataset import AMASSPoseDataset
from .detection_sequence_dataset import DetectionSequenceDataset
from .eft_dataset import EFTDataset
from .h36m_annotation_dataset import H36MAnnotationDataset
from .h36m_person_dataset import H36MPersonDataset
from .h36m_sequence_dataset import H36MSequenceDataset
from .human_data import HumanDataDataset
from .metro_dataset import METRODataset
from .mocap_keypoint_dataset import MocapKeypointDataset
from .mocap_sequence_dataset import MocapSequenceDataset
from .mpi_inf_3dhp_dataset import MPIINF3DHPSequenceDataset
from .muco_dataset import MuCoDataset
from .person_dataset import MergedPersonDataset, PersonDataset
from .person_table import PersonTable
from .pose_sequence_dataset import PoseSequenceDataset
from .spin_dataset import SPINDataset
from .synthetic_dataset import SyntheticBodyDataset
from .threedoh_dataset import ThreeDOHDataset
from .threedpw_dataset import ThreeDPWDataset
from .up3d_dataset import UP3DDataset

__all__ = [
    'AMASSPoseDataset',
    'DetectionSequenceDataset',
    'EFTDataset',
    'H36MAnnotationDataset',
    'H36MPersonDataset',
    'H36MSequenceDataset',
    'HumanDataDataset',
    'METRODataset',
    'MPIINF3DHPSequenceDataset',
    'MergedPersonDataset',
    'MocapKeypointDataset',
    'MocapSequenceDataset',
    'MuCoDataset',
    'PersonDataset',
    'PersonTable',
    'PoseSequenceDataset',
    'SPINDataset',
    'SyntheticBodyDataset',
    'ThreeDOHDataset',
    'ThreeDPWDataset',
    'UP3DDataset',
]
