# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Which joints and frames of a clip are hidden from the network."""
from pathlib import Path
from typing import Dict, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS

from mpm_postometro.bodies.skeletons import SKELETONS, Skeleton
from .clip_rng import clip_rng

__all__ = [
    'ConfidenceMask', 'GivenMask', 'RandomSpatioTemporalMask', 'TubeMask'
]

_MODALITIES = ('2d', '3d')
_SKELETONS = {
    SKELETONS[x].num_joints: SKELETONS[x]
    for x in ('h36m17', 'h36m16')
}
_LIMB_PARTS = dict(
    arm=('shoulder', 'elbow', 'wrist'), leg=('hip', 'knee', 'ankle'))


class _Mask(BaseTransform):
    """Adds masks to a clip; True hides. A joint that one of several masks
    hides is hidden.

    Args:
        modalities (Sequence[str]): What is masked, of '2d' and '3d'.
        seed (int): Another seed, other masks.
    """

    def __init__(self, modalities: Sequence[str], seed: int = 0) -> None:
        modalities = tuple(modalities)
        if not modalities or set(modalities) - set(_MODALITIES):
            raise ValueError(f'modalities must be some of {_MODALITIES}, got '
                             f'{modalities}')
        self.modalities = modalities
        self.seed = seed

    def transform(self, results: Dict) -> Dict:
        """See the class."""
        for modality in self.modalities:
            joints, frames = self._masks(results, modality)
            for key, mask in (('joint', joints), ('frame', frames)):
                key = f'{key}_mask_{modality}'
                if key in results:
                    mask = mask | results[key]
                results[key] = mask
        return results

    def _masks(self, results: Dict,
               modality: str) -> Tuple[np.ndarray, np.ndarray]:
        """Masks (T, J) of joints and (T, ) of frames."""
        raise NotImplementedError

    def _rng(self, results: Dict, modality: str) -> np.random.Generator:
        return clip_rng(results, self.seed, type(self).__name__ + modality)

    @staticmethod
    def _sizes(results: Dict) -> Tuple[int, int]:
        return results['keypoints_2d'].shape[:2]


@TRANSFORMS.register_module()
class RandomSpatioTemporalMask(_Mask):
    """Hide random frames, and random joints in every frame.

    The number of hidden frames, ``int(frame_ratio * T)``, and of hidden
    joints in a frame are the same for all clips; which they are depends on
    nothing but the seeds, the epoch and the number of the clip. 2D and 3D
    are masked independently.

    Required Keys:

        - keypoints_2d (T, J, 2)
        - item_key

    Added Keys, for each modality:

        - joint_mask_2d, joint_mask_3d (T, J), bool, True = hidden
        - frame_mask_2d, frame_mask_3d (T, ), bool, True = hidden

    Args:
        frame_ratio (float): Part of the frames that is hidden. Defaults to
            0.6, as MPM is trained.
        num_joints (int): Hidden joints in each frame. Defaults to 5, with
            which 1 - 0.4 * 12 / 17 = 71.8 % of 17 joints are hidden.
        modalities, seed: See :class:`_Mask`.
    """

    def __init__(self,
                 frame_ratio: float = 0.6,
                 num_joints: int = 5,
                 modalities: Sequence[str] = _MODALITIES,
                 seed: int = 0) -> None:
        super().__init__(modalities, seed)
        if not 0 <= frame_ratio < 1:
            raise ValueError(f'frame_ratio must be in [0, 1), got '
                             f'{frame_ratio}')
        if num_joints < 0:
            raise ValueError(f'num_joints must not be negative, got '
                             f'{num_joints}')
        self.frame_ratio = frame_ratio
        self.num_joints = num_joints

    def _masks(self, results: Dict,
               modality: str) -> Tuple[np.ndarray, np.ndarray]:
        num_frames, num_joints = self._sizes(results)
        if self.num_joints > num_joints:
            raise ValueError(f'{self.num_joints} of {num_joints} joints '
                             'cannot be hidden')
        rng = self._rng(results, modality)
        frames = np.zeros(num_frames, bool)
        frames[:int(self.frame_ratio * num_frames)] = True
        rng.shuffle(frames)
        joints = np.zeros((num_frames, num_joints), bool)
        if self.num_joints:
            order = rng.random((num_frames, num_joints)).argsort(1)
            hidden = order[:, :self.num_joints]
            np.put_along_axis(joints, hidden, True, 1)
        return joints, frames

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(frame_ratio={self.frame_ratio}, '
                f'num_joints={self.num_joints}, '
                f'modalities={self.modalities}, seed={self.seed})')


@TRANSFORMS.register_module()
class TubeMask(_Mask):
    """Hide the same joints in all frames, as somebody behind a table has no
    legs.

    Each clip takes one of the choices, at random where there are several.
    No frame is hidden.

    Required Keys:

        - keypoints_2d (T, J, 2)
        - item_key

    Added Keys, for each modality:

        - joint_mask_2d, joint_mask_3d (T, J), bool, True = hidden
        - frame_mask_2d, frame_mask_3d (T, ), bool, all False
        - mask_name, what is hidden: 'left_arm', 'left_arm+left_leg',
          'random_joints'; 'left_arm|right_arm' if not the same in 2D and 3D

    Args:
        limbs (Sequence[str | Sequence[str]]): The choices: 'left_arm',
            'right_arm', 'left_leg', 'right_leg', the name of a joint, or
            several of these that are hidden together.
        num_joints (int | tuple[int, int], optional): One more choice: so many
            random joints, or between so many, the root left out.
        modalities, seed: See :class:`_Mask`.

    Raises:
        ValueError: If a joint is unknown, or the clip has neither the joints
            of 'h36m17' nor of 'h36m16'.
    """

    def __init__(self,
                 limbs: Sequence[Union[str, Sequence[str]]] = (),
                 num_joints: Union[None, int, Tuple[int, int]] = None,
                 modalities: Sequence[str] = _MODALITIES,
                 seed: int = 0) -> None:
        super().__init__(modalities, seed)
        if isinstance(limbs, str):
            raise ValueError(f"limbs must be a list, got '{limbs}'")
        self.limbs = tuple(limbs)
        self.num_joints = num_joints
        self._choices = {17: self._choices_of(17)}  # or an error at once
        if not self._choices[17]:
            raise ValueError('TubeMask needs limbs or num_joints')
        self._names = [
            limb if isinstance(limb, str) else '+'.join(limb)
            for limb in self.limbs
        ] + ['random_joints']

    def _choices_of(self, num_joints: int) -> list:
        """Joints of each limb, and the range of the number of random ones."""
        if num_joints not in _SKELETONS:
            raise ValueError(f'TubeMask knows clips of {sorted(_SKELETONS)} '
                             f'joints, got {num_joints}')
        skeleton = _SKELETONS[num_joints]
        choices = [_limb_joints(skeleton, limb) for limb in self.limbs]
        if self.num_joints is not None:
            low, high = (self.num_joints, self.num_joints) if isinstance(
                self.num_joints, int) else self.num_joints
            if not 1 <= low <= high < num_joints:
                raise ValueError(
                    f'num_joints must be between 1 and {num_joints - 1}, got '
                    f'{self.num_joints}')
            choices.append((low, high + 1))
        return choices

    def _masks(self, results: Dict,
               modality: str) -> Tuple[np.ndarray, np.ndarray]:
        num_frames, num_joints = self._sizes(results)
        if num_joints not in self._choices:
            self._choices[num_joints] = self._choices_of(num_joints)
        rng = self._rng(results, modality)
        number = rng.integers(len(self._choices[17]))
        choice = self._choices[num_joints][number]
        name = self._names[number]
        if isinstance(choice, tuple):
            count = rng.integers(*choice)
            choice = 1 + rng.permutation(num_joints - 1)[:count]
        found = results.get('mask_name')
        if found is None:
            results['mask_name'] = name
        elif name not in found.split('|'):
            results['mask_name'] = f'{found}|{name}'
        joints = np.zeros((num_frames, num_joints), bool)
        joints[:, choice] = True
        return joints, np.zeros(num_frames, bool)

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(limbs={self.limbs}, '
                f'num_joints={self.num_joints}, '
                f'modalities={self.modalities}, seed={self.seed})')


def _limb_joints(skeleton: Skeleton, limb: Union[str, Sequence[str]]) -> list:
    """Joints of a limb, of a joint's name, or of several of both."""
    names = (limb, ) if isinstance(limb, str) else limb
    joints = []
    for name in names:
        side, _, part = name.partition('_')
        if side in ('left', 'right') and part in _LIMB_PARTS:
            joints += [
                skeleton.index(f'{side}_{x}') for x in _LIMB_PARTS[part]
            ]
        else:
            joints.append(skeleton.index(name))
    return joints


@TRANSFORMS.register_module()
class ConfidenceMask(_Mask):
    """Hide the 2D keypoints that the detector is not sure of.

    A clip without scores, as from ground truth, stays as it is.

    Required Keys:

        - keypoints_2d (T, J, 2)
        - keypoints_2d_scores (T, J) (optional)

    Added Keys:

        - joint_mask_2d (T, J), bool, True = hidden
        - frame_mask_2d (T, ), bool, all False

    Args:
        threshold (float): Lower scores are hidden. Defaults to 0.3.
    """

    def __init__(self, threshold: float = 0.3) -> None:
        super().__init__(('2d', ))
        self.threshold = threshold

    def _masks(self, results: Dict,
               modality: str) -> Tuple[np.ndarray, np.ndarray]:
        num_frames, num_joints = self._sizes(results)
        scores = results.get('keypoints_2d_scores')
        if scores is None:
            joints = np.zeros((num_frames, num_joints), bool)
        else:
            joints = scores < self.threshold
        return joints, np.zeros(num_frames, bool)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(threshold={self.threshold})'


@TRANSFORMS.register_module()
class GivenMask(_Mask):
    """Hide what an array says.

    The array is (J, ): these joints in all frames; or (T, J): the same for
    each clip; or there is one of (N, J) for each sequence of N frames, by the
    name of the sequence. No frame is hidden as a whole. It is about the clip
    as the data set has it: of one that :class:`FlipSequence` has mirrored, the
    other side is hidden.

    Required Keys:

        - keypoints_2d (T, J, 2)
        - flip, flip_indices (if the clip may be mirrored)
        - sequence, frame_indices (T, ) (with an array for each sequence)

    Added Keys, for each modality:

        - joint_mask_2d, joint_mask_3d (T, J), bool, True = hidden
        - frame_mask_2d, frame_mask_3d (T, ), bool, all False

    Args:
        mask (str | Path | array | Mapping): The array or arrays, bool, True =
            hidden; or an ``.npy`` or ``.npz`` file of them.
        modalities: See :class:`_Mask`.
    """

    def __init__(
        self,
        mask: Union[str, Path, Sequence, np.ndarray, Mapping[str, np.ndarray]],
        modalities: Sequence[str] = _MODALITIES,
    ) -> None:
        super().__init__(modalities)
        self._where = 'mask'
        if isinstance(mask, (str, Path)):
            self._where = str(mask)
            if not Path(mask).is_file():
                raise FileNotFoundError(f'mask {mask} does not exist')
            loaded = np.load(mask, allow_pickle=False)
            mask = dict(loaded) if hasattr(loaded, 'files') else loaded
        if isinstance(mask, Mapping):
            self._by_sequence: Optional[dict] = {
                str(k): self._checked(v, (2, ), f"key '{k}'")
                for k, v in mask.items()
            }
        else:
            self._by_sequence = None
            self._mask = self._checked(mask, (1, 2), 'the array')

    def _checked(self, mask, ndims: Tuple[int, ...], key: str) -> np.ndarray:
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.ndim not in ndims:
            raise ValueError(
                f'{self._where}: {key} must be bool with '
                f"{' or '.join(map(str, ndims))} axes, the last of joints; "
                f'got {mask.dtype} {mask.shape}')
        return mask

    def _masks(self, results: Dict,
               modality: str) -> Tuple[np.ndarray, np.ndarray]:
        sizes = self._sizes(results)
        if self._by_sequence is None:
            joints, key = self._mask, 'the array'
        else:
            name, frames = results['sequence'], results['frame_indices']
            key = f"key '{name}'"
            if name not in self._by_sequence:
                raise ValueError(
                    f'{self._where}: no {key} for this sequence, only '
                    f'{sorted(self._by_sequence)[:5]}')
            joints = self._by_sequence[name]
            if len(joints) <= frames.max():
                raise ValueError(
                    f'{self._where}: {key} has {len(joints)} frames, but the '
                    f'sequence has more than {frames.max()}')
            joints = joints[frames]
        if joints.shape not in (sizes, sizes[1:]):
            raise ValueError(f'{self._where}: {key} gives {joints.shape}, but '
                             f'the clip has (T, J) = {sizes}')
        if results.get('flip'):
            joints = joints[..., list(results['flip_indices'])]
        return (np.broadcast_to(joints,
                                sizes).copy(), np.zeros(sizes[0], bool))

    def __repr__(self) -> str:
        return (f"{type(self).__name__}('{self._where}', "
                f'modalities={self.modalities})')
