# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Motion primitives: what legs and trunk may be doing.

A *stance* draws root, trunk and legs, and names the gestures of the arms
(:mod:`.gestures`) that suit it. All numbers are ranges of anatomical angles
in degrees (see :mod:`.limbs`).
"""
from dataclasses import dataclass, field
from typing import Callable, Dict, Tuple

import numpy as np

from .limbs import bump

__all__ = ['Leg', 'Stance', 'STANCES']

Rng = np.random.Generator


@dataclass
class Leg:
    """One leg; ``ankle=None`` keeps the sole level with the floor."""
    flexion: float = 0.
    abduction: float = 6.
    rotation: float = 8.
    knee: float = 4.
    ankle: float = None


@dataclass
class Stance:
    """Root, trunk and legs.

    Attributes:
        left, right (Leg): The legs; left is only *the first one*: the
            sampler mirrors half of all poses.
        lean (float): Forward lean of the pelvis; 90 = face down.
        side (float): Sideways lean of the pelvis to the left.
        trunk (tuple): Flexion, bend and twist of the whole spine.
        legs_follow_pelvis (bool): Whether leg angles count from the leaning
            pelvis instead of the vertical.
        gestures (tuple): Names of suitable gestures; empty = any of the
            usual ones.
        swing (float): Phase of a gait, for arms that swing with it.
    """
    left: Leg = field(default_factory=Leg)
    right: Leg = field(default_factory=Leg)
    lean: float = 0.
    side: float = 0.
    trunk: Tuple[float, float, float] = (4., 0., 0.)
    legs_follow_pelvis: bool = False
    gestures: Tuple[str, ...] = ()
    swing: float = None


def _u(rng: Rng, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _standing(rng: Rng) -> Stance:
    left, right = (
        Leg(_u(rng, -6, 8), _u(rng, 1, 14), _u(rng, 0, 25), _u(rng, 0, 9))
        for _ in range(2))
    if rng.random() < 0.5:  # weight on one leg
        bent = _u(rng, 10, 40)
        left = Leg(bent * 0.7, _u(rng, 3, 22), _u(rng, 5, 35), bent * 1.1)
    return Stance(left, right, _u(rng, -4, 8), _u(rng, -5, 5),
                  (rng.normal(4, 7), rng.normal(0, 6), rng.normal(0, 12)))


def _walking(rng: Rng) -> Stance:
    phase, effort = rng.random(), _u(rng, 0.7, 1.4)

    def leg(p):
        return Leg(8 + effort * 22 * np.cos(2 * np.pi * p), _u(rng, 0, 5),
                   _u(rng, 0, 10),
                   6 + 12 * bump(p, 0.13, 0.07) + 52 * bump(p, 0.72, 0.11),
                   None if p < 0.45 else -15 * bump(p, 0.62))

    return Stance(
        leg(phase),
        leg((phase + 0.5) % 1),
        _u(rng, 0, 8),
        0, (_u(rng, -2, 10), 0, 8 * effort * np.cos(2 * np.pi * phase)),
        swing=phase)


def _running(rng: Rng) -> Stance:
    phase, effort = rng.random(), _u(rng, 0.7, 1.35)

    def leg(p):
        return Leg(
            18 + effort * 38 * np.cos(2 * np.pi * p), _u(rng, 0, 5),
            _u(rng, 0, 8),
            min(
                18 + 22 * bump(p, 0.12, 0.07) +
                effort * 80 * bump(p, 0.72, 0.14), 140),
            -25 * bump(p, 0.6, 0.15))

    return Stance(
        leg(phase),
        leg((phase + 0.5) % 1),
        _u(rng, 4, 20),
        0, (_u(rng, 0, 14), 0, 14 * effort * np.cos(2 * np.pi * phase)),
        gestures=('jog', 'jog', 'jog', 'raised', 'free'),
        swing=phase)


def _sitting(rng: Rng) -> Stance:
    spread, knee = _u(rng, 2, 28), _u(rng, 55, 110)
    left, right = (
        Leg(_u(rng, 75, 98), spread, _u(rng, 0, 20), knee + _u(rng, -12, 12))
        for _ in range(2))
    style = rng.random()
    if style < 0.2:  # ankle on the other knee
        left = Leg(
            _u(rng, 85, 100), _u(rng, 30, 42), _u(rng, 35, 50),
            _u(rng, 95, 112), _u(rng, -10, 10))
    elif style < 0.35:  # legs stretched out
        left.knee, right.knee = _u(rng, 15, 55), _u(rng, 15, 55)
    return Stance(
        left,
        right,
        _u(rng, -22, 18),
        _u(rng, -5, 5), (_u(rng, -4, 32), rng.normal(0, 6), rng.normal(0, 12)),
        gestures=('lap', 'lap', 'forward', 'crossed', 'chin', 'phone',
                  'camera', 'together', 'behind_head', 'pointing', 'wave',
                  'angles', 'reach', 'free'))


def _floor_sitting(rng: Rng) -> Stance:
    style = rng.random()
    if style < 0.4:  # cross-legged
        left, right = (
            Leg(
                _u(rng, 62, 78), _u(rng, 38, 48), _u(rng, 58, 72),
                _u(rng, 112, 130), _u(rng, -30, -10)) for _ in range(2))
        left.flexion += 8
    elif style < 0.75:  # knees up
        left, right = (
            Leg(
                _u(rng, 105, 128), _u(rng, 2, 18), _u(rng, 0, 12),
                _u(rng, 95, 130)) for _ in range(2))
    else:
        left, right = (
            Leg(
                _u(rng, 80, 92), _u(rng, 4, 30), _u(rng, 0, 20),
                _u(rng, 0, 30), 0.) for _ in range(2))
        if rng.random() < 0.5:
            left = Leg(_u(rng, 95, 115), _u(rng, 2, 15), 5, _u(rng, 90, 120))
    return Stance(
        left,
        right,
        _u(rng, -20, 14),
        0, (_u(rng, 0, 30), rng.normal(0, 6), rng.normal(0, 12)),
        gestures=('lap', 'prop', 'forward', 'together', 'phone', 'reach',
                  'wave', 'chin'))


def _squatting(rng: Rng) -> Stance:
    depth = rng.random()
    knee = 50 + 85 * depth
    left, right = (
        Leg(25 + 90 * depth + _u(rng, -8, 8), _u(rng, 6, 30), _u(rng, 5, 25),
            knee + _u(rng, -6, 6)) for _ in range(2))
    return Stance(
        left,
        right,
        _u(rng, 8, 35),
        _u(rng, -5, 5), (_u(rng, 0, 28), rng.normal(0, 6), rng.normal(0, 10)),
        gestures=('forward', 'together', 'reach', 'lap', 'guard', 'carry',
                  'pointing', 'camera', 'free'))


def _kneeling(rng: Rng) -> Stance:
    style = rng.random()
    if style < 0.35:  # upright on both knees
        left, right = (
            Leg(_u(rng, -5, 20), _u(rng, 2, 15), 0, _u(rng, 85, 110), -35.)
            for _ in range(2))
    elif style < 0.6:  # sitting on the heels
        left, right = (
            Leg(_u(rng, 62, 78), _u(rng, 4, 20), 0, _u(rng, 138, 150), -35.)
            for _ in range(2))
    else:  # on one knee
        left = Leg(_u(rng, 75, 95), _u(rng, 0, 20), 5, _u(rng, 78, 105))
        right = Leg(
            _u(rng, -12, 10), _u(rng, 2, 12), 0, _u(rng, 85, 110),
            _u(rng, -30, 15))
    return Stance(left, right, _u(rng, -5, 18), 0,
                  (_u(rng, 0, 22), rng.normal(0, 6), rng.normal(0, 14)))


def _lunging(rng: Rng) -> Stance:
    left = Leg(
        _u(rng, 40, 88), _u(rng, 0, 22), _u(rng, 0, 15), _u(rng, 45, 98))
    right = Leg(
        _u(rng, -35, -8), _u(rng, 2, 18), _u(rng, 0, 25), _u(rng, 5, 60),
        _u(rng, -10, 25))
    if rng.random() < 0.35:  # sideways
        left = Leg(
            _u(rng, 30, 70), _u(rng, 22, 45), _u(rng, 10, 35), _u(rng, 45, 90))
        right = Leg(
            _u(rng, -5, 10), _u(rng, 28, 48), _u(rng, 0, 15), _u(rng, 0, 8))
    return Stance(left, right, _u(rng, 0, 28), _u(rng, -6, 6),
                  (_u(rng, -6, 18), rng.normal(0, 8), rng.normal(0, 18)))


def _kicking(rng: Rng) -> Stance:
    support = Leg(
        _u(rng, -5, 20), _u(rng, 0, 10), _u(rng, 0, 30), _u(rng, 3, 30))
    if rng.random() < 0.6:
        kick = Leg(
            _u(rng, 35, 105), _u(rng, 0, 28), _u(rng, 0, 20), _u(rng, 0, 75),
            _u(rng, -35, 5))
        lean = _u(rng, -25, 5)
    else:  # leg swung back
        kick = Leg(
            _u(rng, -45, -15), _u(rng, 0, 25), _u(rng, 0, 20), _u(rng, 10, 95),
            _u(rng, -35, 0))
        lean = _u(rng, 8, 40)
    return Stance(
        kick,
        support,
        lean,
        _u(rng, -12, 5),
        (_u(rng, -5, 15), rng.normal(0, 8), rng.normal(0, 16)),
        gestures=('angles', 'angles', 'guard', 'raised', 'free'))


def _stepping(rng: Rng) -> Stance:
    left = Leg(
        _u(rng, 45, 100), _u(rng, 0, 18), _u(rng, 0, 15), _u(rng, 50, 112))
    right = Leg(
        _u(rng, -10, 12), _u(rng, 0, 8), _u(rng, 0, 15), _u(rng, 2, 25))
    return Stance(left, right, _u(rng, -4, 22), 0,
                  (_u(rng, -4, 18), rng.normal(0, 6), rng.normal(0, 12)))


def _jumping(rng: Rng) -> Stance:
    tuck = rng.random()**1.5
    left, right = (
        Leg(
            _u(rng, -15, 15) + 75 * tuck, _u(rng, 2, 38), _u(rng, 0, 20),
            np.clip(_u(rng, 0, 30) + 95 * tuck, 0, 140), _u(rng, -40, -10))
        for _ in range(2))
    return Stance(
        left,
        right,
        _u(rng, -15, 22),
        _u(rng, -8, 8),
        (_u(rng, -14, 14), rng.normal(0, 8), rng.normal(0, 10)),
        gestures=('raised', 'raised', 'angles', 'victory', 'free'))


def _bending(rng: Rng) -> Stance:
    left, right = (
        Leg(_u(rng, -5, 40), _u(rng, 1, 16), _u(rng, 0, 15), _u(rng, 2, 60))
        for _ in range(2))
    return Stance(
        left,
        right,
        _u(rng, 15, 62),
        _u(rng, -8, 8), (_u(rng, 10, 55), rng.normal(0, 9), rng.normal(0, 16)),
        gestures=('reach', 'down', 'down', 'forward', 'lap', 'carry', 'angles',
                  'free'))


def _balancing(rng: Rng) -> Stance:
    support = Leg(
        _u(rng, -3, 12), _u(rng, -2, 8), _u(rng, 0, 20), _u(rng, 0, 22))
    style = rng.random()
    if style < 0.4:  # one leg back, trunk forwards
        lean = _u(rng, 25, 80)
        lifted = Leg(-_u(rng, 0.55, 1.0) * lean, _u(rng, 0, 12), 5,
                     _u(rng, 0, 40), _u(rng, -35, -5))
    elif style < 0.7:  # sole against the other knee
        lean = _u(rng, -4, 6)
        lifted = Leg(
            _u(rng, 35, 55), _u(rng, 32, 48), _u(rng, 35, 50),
            _u(rng, 105, 130), _u(rng, -20, 0))
    else:  # leg lifted sideways
        lean = _u(rng, -4, 14)
        lifted = Leg(
            _u(rng, -5, 25), _u(rng, 28, 62), _u(rng, 0, 35), _u(rng, 0, 30),
            _u(rng, -30, 0))
    return Stance(
        lifted,
        support,
        lean,
        _u(rng, -12, 4), (_u(rng, -12, 8), rng.normal(0, 7), rng.normal(0, 8)),
        gestures=('angles', 'tpose', 'raised', 'victory', 'hips'))


def _all_fours(rng: Rng) -> Stance:
    if rng.random() < 0.6:  # hands and knees
        left, right = (
            Leg(_u(rng, -12, 25), _u(rng, 0, 14), 0, _u(rng, 75, 105), -35.)
            for _ in range(2))
        return Stance(
            left,
            right,
            _u(rng, 68, 90),
            0, (_u(rng, -12, 22), rng.normal(0, 5), rng.normal(0, 8)),
            gestures=('floor', ))
    left, right = (
        Leg(
            _u(rng, -8, 18), _u(rng, 0, 12), 0, _u(rng, 0, 12), _u(rng, 0, 25))
        for _ in range(2))
    return Stance(
        left,
        right,
        _u(rng, 62, 88),
        0, (_u(rng, -6, 8), 0, rng.normal(0, 5)),
        legs_follow_pelvis=True,
        gestures=('floor', ))


def _lying(rng: Rng) -> Stance:
    left, right = (
        Leg(
            _u(rng, -2, 35), _u(rng, 2, 22), _u(rng, 0, 25), _u(rng, 2, 70),
            _u(rng, -30, 0)) for _ in range(2))
    style = rng.random()
    lean, side = (-90, 0) if style < 0.5 else (90, 0)
    if style > 0.75:
        lean, side = 0, 90 * np.sign(rng.random() - 0.5)
    elif lean > 0:
        left.flexion, right.flexion = _u(rng, -8, 5), _u(rng, -8, 25)
    return Stance(
        left,
        right,
        lean + _u(rng, -12, 12),
        side + _u(rng, -12, 12),
        (_u(rng, -8, 15), rng.normal(0, 8), rng.normal(0, 12)),
        legs_follow_pelvis=True,
        gestures=('angles', 'raised', 'behind_head', 'relaxed', 'free',
                  'together'))


def _dancing(rng: Rng) -> Stance:
    left, right = (
        Leg(
            _u(rng, -25, 75), _u(rng, -4, 40), _u(rng, -10, 35),
            _u(rng, 0, 100) * rng.random(),
            None if rng.random() < 0.5 else _u(rng, -35, 10))
        for _ in range(2))
    return Stance(
        left,
        right,
        rng.normal(6, 14),
        rng.normal(0, 9),
        (rng.normal(4, 12), rng.normal(0, 12), rng.normal(0, 20)),
        gestures=('angles', 'angles', 'raised', 'free', 'wave', 'tpose',
                  'victory', 'reach'))


#: name -> (how often, how to draw one)
STANCES: Dict[str, Tuple[float, Callable[[Rng], Stance]]] = dict(
    standing=(0.21, _standing),
    walking=(0.15, _walking),
    running=(0.09, _running),
    sitting=(0.13, _sitting),
    floor_sitting=(0.04, _floor_sitting),
    squatting=(0.05, _squatting),
    kneeling=(0.04, _kneeling),
    lunging=(0.05, _lunging),
    kicking=(0.04, _kicking),
    stepping=(0.04, _stepping),
    jumping=(0.03, _jumping),
    bending=(0.05, _bending),
    balancing=(0.03, _balancing),
    all_fours=(0.02, _all_fours),
    lying=(0.02, _lying),
    dancing=(0.05, _dancing),
)
