# Copyright (c) The mpm_postometro authors. All rights reserved.
import math

import pytest
import torch

from mpm_postometro.models.layers import sine_position_code


def test_first_half_codes_rows_second_columns():
    code = sine_position_code(3, 5, 8)
    assert code.shape == (8, 3, 5)
    assert (code[:4] == code[:4, :, :1]).all()
    assert (code[4:] == code[4:, :1]).all()


def test_values():
    code = sine_position_code(4, 4, 8)
    # second row of four: half of the circle; channels sin, cos of it, then
    # of it divided by sqrt(10000)
    angle = 2 * math.pi * 2 / 4
    expected = [f(a) for a in (angle, angle / 100)
                for f in (math.sin, math.cos)]  # yapf: disable
    torch.testing.assert_close(
        code[:4, 1, 0], torch.tensor(expected), rtol=0, atol=1e-5)


def test_a_code_made_in_inference_can_be_trained_with():
    with torch.inference_mode():
        sine_position_code(3, 7, 4)  # a size no other test asks for
    weight = torch.ones(4, 3, 7, requires_grad=True)
    (sine_position_code(3, 7, 4) * weight).sum().backward()
    assert weight.grad.abs().sum() > 0


def test_width_must_fit():
    with pytest.raises(ValueError, match='multiple of four'):
        sine_position_code(2, 2, 6)
