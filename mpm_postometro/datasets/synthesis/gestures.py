# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What arms may be doing."""
from dataclasses import dataclass
from typing import Dict, List, Tuple

__all__ = ['Reach', 'Swing', 'GESTURES', 'USUAL']


@dataclass
class Reach:
    """Wrist at a point relative to the chest joint, left side, metres for a
    person whose arm (shoulder to wrist) is 0.5 m long."""
    target: Tuple[float, float, float]
    pole: Tuple[float, float, float]
    spread: float = 0.04
    pronation: Tuple[float, float] = (-20, 40)


@dataclass
class Swing:
    """Ranges of elevation, azimuth, humeral rotation and elbow flexion."""
    elevation: Tuple[float, float]
    azimuth: Tuple[float, float]
    rotation: Tuple[float, float]
    elbow: Tuple[float, float]


_RELAXED = Swing((8, 20), (55, 110), (-10, 45), (4, 35))
#: name -> arm primitives, the first arm's and the second's
GESTURES: Dict[str, List] = dict(
    relaxed=[_RELAXED, _RELAXED],
    hips=[Reach((.19, -.24, .04), (1, .1, -.5), .02)] * 2,
    hip=[Reach((.19, -.24, .04), (1, .1, -.5), .02), _RELAXED],
    crossed=[
        Reach((-.10, .00, .20), (.8, -1, .1), .02),
        Reach((-.09, -.06, .24), (.8, -1, .1), .02)
    ],
    phone=[Reach((.13, .34, .10), (.9, -.8, .5), .02), _RELAXED],
    camera=[Reach((.08, .20, .30), (.6, -1, 0), .05)] * 2,
    screen=[Reach((.06, .06, .32), (.6, -1, 0), .06), _RELAXED],
    together=[Reach((.04, -.10, .28), (.8, -1, 0), .06)] * 2,
    clasped=[Reach((.05, -.22, .22), (1, -.4, -.3), .03)] * 2,
    pockets=[Reach((.21, -.32, .06), (.7, 0, -1), .02)] * 2,
    back=[Reach((.06, -.22, -.19), (1, 0, -.6), .02)] * 2,
    behind_head=[Reach((.10, .38, -.08), (1, .5, .3), .02)] * 2,
    chin=[
        Reach((.05, .20, .20), (.4, -1, .1), .03),
        Reach((.02, -.12, .24), (.8, -1, 0), .04)
    ],
    carry=[Reach((.17, -.08, .32), (.6, -1, -.2), .06)] * 2,
    guard=[Reach((.10, .22, .30), (.6, -1, 0), .08)] * 2,
    lap=[Reach((.15, -.18, .36), (1, -.3, -.5), .08)] * 2,
    forward=[Reach((.14, -.02, .46), (.7, -1, 0), .12)] * 2,
    prop=[Swing((25, 55), (150, 185), (-20, 20), (0, 25))] * 2,
    down=[Swing((35, 100), (-15, 25), (-20, 30), (0, 40))] * 2,
    floor=[Swing((68, 98), (-5, 25), (-20, 30), (0, 45))] * 2,
    wave=[Swing((70, 130), (60, 100), (-100, -50), (30, 105)), _RELAXED],
    pointing=[Swing((60, 110), (-10, 95), (-20, 30), (0, 25)), _RELAXED],
    tpose=[Swing((70, 105), (65, 100), (-30, 30), (0, 30))] * 2,
    raised=[Swing((110, 172), (10, 90), (-60, 10), (0, 85))] * 2,
    victory=[Swing((125, 165), (60, 95), (-40, 0), (0, 30))] * 2,
    reach=[Swing((50, 150), (-20, 90), (-30, 40), (0, 60)), _RELAXED],
    angles=[Swing((12, 140), (-10, 120), (-60, 60), (0, 125))] * 2,
)
#: gestures of a stance that names none, with their weights
USUAL: Dict[str, float] = dict(
    relaxed=6.5,
    hips=1.5,
    hip=1,
    crossed=2,
    phone=1,
    camera=1,
    screen=1.2,
    together=1.2,
    clasped=1,
    pockets=1,
    back=.7,
    behind_head=.8,
    chin=.6,
    carry=1.2,
    guard=1,
    forward=1,
    wave=1.5,
    pointing=1.5,
    tpose=.8,
    raised=1.2,
    victory=.6,
    reach=1.8,
    angles=2.5,
    free=2.5)
