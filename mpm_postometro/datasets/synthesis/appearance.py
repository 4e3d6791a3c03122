# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Skin, hair and clothes: colours at the vertices of a body."""
from typing import NamedTuple, Optional

import numpy as np

__all__ = ['Appearance', 'AppearanceSampler', 'any_colour']

# From light to dark, BGR.
_SKIN = np.array([[196, 214, 240], [165, 190, 226], [132, 164, 208],
                  [98, 134, 185], [66, 98, 150], [48, 70, 112], [34, 48, 78]],
                 np.float32)
_HAIR = np.array(
    [[22, 20, 22], [30, 36, 48], [38, 58, 88], [62, 98, 138], [120, 176, 210],
     [40, 66, 150], [150, 150, 152], [210, 212, 214]], np.float32)
_CLOTH_GROUPS = ('top', 'sleeves', 'trousers', 'lower_legs', 'shoes')


class Appearance(NamedTuple):
    """Looks of a person.

    Attributes:
        colours (np.ndarray): BGR of each vertex, 0 to 255. Shape (V, 3).
        pattern (np.ndarray, optional): 128 x 128 grey texture of the
            patterned clothes.
        pattern_weight (np.ndarray, optional): How far each vertex follows
            the pattern, 0 to 1. Shape (V, ).
        pattern_colour (np.ndarray, optional): BGR of the pattern. Shape
            (3, ).
        pattern_scale (float): Repetitions per metre.
        puff (np.ndarray): How far clothes and hair stand off the skin,
            metres. Shape (V, ).
    """
    colours: np.ndarray
    pattern: Optional[np.ndarray]
    pattern_weight: Optional[np.ndarray]
    pattern_colour: Optional[np.ndarray]
    pattern_scale: float
    puff: np.ndarray


def any_colour(rng: np.random.Generator, vivid: float = .9) -> np.ndarray:
    """A BGR colour as cloth and things have them: many greys, some bright.

    Args:
        rng (np.random.Generator): Source of randomness.
        vivid (float): Largest saturation.

    Returns:
        np.ndarray: Shape (3, ), float32, 0 to 255.
    """
    value, saturation, hue = rng.random(3).tolist()
    value = 255 * (.1 + .88 * value**.8)
    saturation = vivid * saturation**1.7
    # The usual way from hue to colour: each channel is a trapezium.
    colour = [
        value * (1 - saturation *
                 (1 - min(max(abs((6 * hue + at) % 6 - 3) - 1, 0.), 1.)))
        for at in (4., 2., 0.)
    ]
    return np.array(colour, np.float32)


class AppearanceSampler:
    """Dresses a body by its vertex groups.

    Args:
        groups (np.ndarray, optional): Group of each vertex. Shape (V, ).
            None: the whole body wears one colour.
        names (Sequence[str]): Names of the groups.
        textures (TextureLibrary): Patterns of cloth.
    """

    def __init__(self, groups, names, textures) -> None:
        self.textures = textures
        self.groups = groups
        self.names = tuple(names)

    def sample(self, rng: np.random.Generator,
               num_vertices: int) -> Appearance:
        """Draw clothes.

        Args:
            rng (np.random.Generator): Source of randomness.
            num_vertices (int): Of the fine body.

        Returns:
            Appearance: For the vertices of the fine body.
        """
        if self.groups is None:
            colours = np.tile(any_colour(rng), (num_vertices, 1))
            return Appearance(colours, None, None, None, 1.,
                              np.zeros(num_vertices, np.float32))
        tone = rng.uniform(0, len(_SKIN) - 1)
        low = min(int(tone), len(_SKIN) - 2)
        skin = _SKIN[low] + (tone - low) * (_SKIN[low + 1] - _SKIN[low])
        skin = skin * rng.uniform(.92, 1.06, 3)
        hair = _HAIR[rng.integers(len(_HAIR))] * rng.uniform(.8, 1.2)
        top, trousers = any_colour(rng), any_colour(rng)
        if rng.random() < 0.12:
            trousers = top
        shoes = any_colour(rng) * (.35 if rng.random() < .5 else 1.)
        draw = rng.random(6)
        table = dict(
            skin=skin,
            hair=skin if draw[0] < .08 else hair,
            top=skin if draw[1] < .04 else top,
            sleeves=skin if draw[2] < .45 or draw[1] < .04 else top,
            trousers=trousers,
            lower_legs=skin if draw[3] < .3 else trousers,
            shoes=skin if draw[4] < .1 else shoes,
            eyes=np.float32([60, 60, 60]),
            brows=.5 * skin + .5 * np.minimum(hair, skin),
            lips=skin * np.float32([.78, .72, .92]))
        palette = np.stack([
            np.asarray(table.get(name, skin), np.float32)
            for name in self.names
        ])
        loose = rng.uniform(0, .012, len(self.names))
        for index, name in enumerate(self.names):
            worn = name in _CLOTH_GROUPS and table[name] is not skin
            if name == 'hair' and draw[0] >= .08:
                loose[index] = rng.uniform(.004, .022)
            elif not worn:
                loose[index] = 0
        pattern = weight = colour = None
        scale = 1.
        if draw[5] < .55:
            pick = np.searchsorted((.65, .85), rng.random())
            wanted = (('top', 'sleeves'), ('trousers', 'lower_legs'),
                      _CLOTH_GROUPS[:4])[pick]
            has = np.float32([
                name in wanted and table[name] is not skin
                for name in self.names
            ])
            pattern = self.textures.pick(rng)
            weight, colour = has[self.groups], any_colour(rng)
            scale = float(np.exp(rng.uniform(np.log(1.2), np.log(5.))))
        return Appearance(palette[self.groups], pattern, weight, colour, scale,
                          np.float32(loose)[self.groups])
