# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
from mpm_batches import JOINTS, STAGES, build

from mpm_postometro.models.pose_estimators.official_mpm_keys import (
    from_official_mpm_state, model_config, to_official_mpm_state)


def randomised(stage, **changes):
    model = build(stage, **changes)
    state = model.state_dict()
    for value in state.values():
        if value.is_floating_point():
            torch.nn.init.normal_(value)
    return state


@pytest.mark.parametrize('stage', STAGES)
def test_round_trip(stage):
    state = randomised(stage)
    kind, official, refinement = to_official_mpm_state(state)
    assert kind == ('lifting' if stage == 'lifting' else 'masked')
    assert not refinement
    weights = from_official_mpm_state(official)
    assert weights.kind == kind
    assert list(sorted(weights.state_dict)) == sorted(state)
    for name, value in state.items():
        assert weights.state_dict[name].equal(value), name
    assert len(set(map(id, official.values()))) == len(official)


def test_refinement_has_a_file_of_its_own():
    state = randomised(
        'lifting',
        refiner=dict(type='MPMRefiner', num_joints=JOINTS, hidden_channels=12))
    _, official, refinement = to_official_mpm_state(state)
    assert sorted(refinement) == [
        'post_refine.0.bias', 'post_refine.0.weight', 'post_refine.3.bias',
        'post_refine.3.weight'
    ]
    both = {
        **from_official_mpm_state(official).state_dict,
        **from_official_mpm_state(refinement).state_dict
    }
    assert all(both[name].equal(value) for name, value in state.items())
    cfg = model_config(from_official_mpm_state(refinement).state_dict)
    assert cfg == dict(
        refiner=dict(type='MPMRefiner', num_joints=JOINTS, hidden_channels=12))


@pytest.mark.parametrize('stage', STAGES)
def test_config_of_weights(stage):
    state = randomised(stage)
    cfg = model_config(state)
    built = build(stage)
    assert cfg['backbone']['masking'] == built.backbone.masking
    assert list(cfg['backbone']['modalities']) == list(built.backbone.encoders)
    assert list(cfg['heads']) == list(built.heads)


@pytest.mark.parametrize('stage', ['pretraining', 'lifting'])
def test_lists_unknown_and_missing_names(stage):
    official = to_official_mpm_state(randomised(stage))[1]
    first = 'shared_layers_temporal.model.layers.1.self_attn.linears.2.weight'
    norm = 'shared_layers_temporal.model.norm.a_2'
    broken = {k: v for k, v in official.items() if k not in (first, norm)}
    broken['extra.weight'] = torch.zeros(1)
    with pytest.raises(ValueError) as error:
        from_official_mpm_state(broken)
    for text in (f'missing: {first}, {norm}', 'unknown: extra.weight'):
        assert text in str(error.value)


def test_refuses_wrong_shapes():
    official = to_official_mpm_state(randomised('lifting'))[1]
    name = 'Transformer_reduce.model.layers.0.feed_forward.w_2.weight'
    for key, shape, message in (
        (name, (16, 20, 5), r'should be \(out, in, 3\), but is'),
        (name, (16, 21, 3), 'layers.0.linear2.weight is .* should be'),
        ('shared_layers_temporal.model.layers.0.self_attn.linears.1.weight',
         (16, 15), 'should be of one shape'),
        ('fcn.0.running_var', (15, ), 'running_var is .* should be'),
    ):
        broken = {**official, key: torch.zeros(shape)}
        with pytest.raises(ValueError, match=message):
            from_official_mpm_state(broken)


def test_refuses_other_files():
    for state in ({}, {'a': 1}):
        with pytest.raises(ValueError, match='expected a state dict'):
            from_official_mpm_state(state)
    for convert in (from_official_mpm_state, to_official_mpm_state):
        with pytest.raises(ValueError, match='no checkpoint of MPM.*conv1'):
            convert({'conv1.weight': torch.zeros(1)})
