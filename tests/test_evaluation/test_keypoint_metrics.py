# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
from mmpose.evaluation.metrics import EPE, PCKAccuracy
from mmpose.registry import METRICS

from mpm_postometro.evaluation import CodebookMetric, KeypointErrorMetric


def make_sample(offsets, visible=None, occluded=None, index=0, dims=2):
    """Joint k is off by ``offsets[k]`` along x; the box is 50 x 100."""
    num = len(offsets)
    true = np.random.default_rng(index).normal(0, 30, (1, num, dims))
    pred = true.copy()
    pred[0, :, 0] += offsets
    visible = np.ones(num) if visible is None else np.array(visible)
    gt = dict(
        keypoints=true,
        keypoints_visible=visible[None],
        bboxes=np.array([[10., 20., 60., 120.]]))
    if occluded is not None:
        gt['keypoints_occluded'] = np.array(occluded, float)[None]
    return dict(id=index, pred_instances=dict(keypoints=pred), gt_instances=gt)


def measure(samples, **settings):
    metric = METRICS.build(dict(type='KeypointErrorMetric', **settings))
    for start in range(0, len(samples), 2):
        metric.process({}, samples[start:start + 2])
    return metric.evaluate(len(samples))


def test_known_answers():
    samples = [
        make_sample([1, 2, 90, 90], [1, 1, 0, 0], occluded=[0, 1, 1, 0]),
        make_sample([3, 8, 4, 90], [1, 1, 1, 0],
                    occluded=[0, 0, 1, 0],
                    index=1)
    ]
    assert measure(samples) == pytest.approx({
        'keypoint/epe': 18 / 5,
        'keypoint/pck_0.05': 4 / 5,
        'keypoint/epe_visible': 12 / 3,
        'keypoint/pck_0.05_visible': 2 / 3,
        'keypoint/epe_hidden': 6 / 2,
        'keypoint/pck_0.05_hidden': 1.
    })
    values = measure(samples, unit='box', pck_thr=0.02)
    assert values['keypoint/epe'] == pytest.approx(18 / 5)  # side of 100 px
    assert values['keypoint/pck_0.02'] == pytest.approx(2 / 5)


def test_3d_in_millimetres_needs_no_box():
    sample = make_sample([.01, .06, .02], dims=3)
    del sample['gt_instances']['bboxes']
    values = measure([sample], unit='mm')
    assert values == pytest.approx({
        'keypoint/epe': 30.,
        'keypoint/pck_50': 2 / 3
    })


def test_unknown_occlusion_counts_for_all_joints_only():
    known = make_sample([2., 4.], occluded=[1, 0])
    unknown = make_sample([30., 40.], index=1)
    values = measure([known, unknown])
    assert values['keypoint/epe'] == pytest.approx(76 / 4)
    assert values['keypoint/epe_hidden'] == pytest.approx(2)
    assert not any('hidden' in key for key in measure([unknown]))


def test_unlabelled_joints_may_be_nan_and_a_bad_prediction_is_seen():
    sample = make_sample([1., 1.], visible=[1, 0])
    sample['gt_instances']['keypoints'][0, 1] = np.nan
    assert measure([sample])['keypoint/epe'] == pytest.approx(1)
    sample['pred_instances']['keypoints'][0, 0] = np.nan
    assert np.isnan(measure([sample])['keypoint/epe'])


def test_as_mmpose_measures_and_independent_of_batches():
    rng = np.random.default_rng(3)
    samples = [
        make_sample(rng.uniform(0, 9, 17), rng.random(17) > .3, index=i)
        for i in range(7)
    ]
    ours = measure(samples)
    theirs = EPE()
    theirs.process({}, samples)
    assert ours['keypoint/epe'] == pytest.approx(theirs.evaluate(7)['EPE'])
    # MMPose's PCK is a mean over joints of means over people.
    visible = [s for s in samples]
    for sample in visible:
        sample['gt_instances']['keypoints_visible'][:] = 1
        sample['gt_instances'].pop('keypoints_occluded', None)
    theirs = PCKAccuracy(thr=0.05, norm_item='bbox')
    theirs.process({}, visible)
    assert measure(visible)['keypoint/pck_0.05'] == pytest.approx(
        theirs.evaluate(7)['PCK'])
    # Two ranks of unequal shares: what each collects is summed, not averaged.
    whole = KeypointErrorMetric()
    whole.process({}, samples)
    parts = [KeypointErrorMetric(), KeypointErrorMetric()]
    parts[0].process({}, samples[5:])
    parts[1].process({}, samples[:5])
    assert whole.compute_metrics(
        whole.results) == parts[0].compute_metrics(parts[0].results +
                                                   parts[1].results)


def test_errors_name_the_sample_and_the_setting():
    sample = make_sample([1., 2.], index=5)
    sample['pred_instances']['keypoints'] = np.zeros((1, 3, 2))
    with pytest.raises(ValueError, match=r'sample 5 has predictions '):
        measure([sample])
    with pytest.raises(ValueError, match="unit must be .* got 'cm'"):
        KeypointErrorMetric(unit='cm')
    with pytest.raises(ValueError, match='pck_thr must be positive'):
        KeypointErrorMetric(pck_thr=0.)


def codes_sample(codes):
    return dict(id=1, pred_instances=dict(codes=np.array([codes])))


def test_codebook_usage_is_of_the_whole_data_set():
    metric = CodebookMetric(num_codes=16)
    metric.process({}, [codes_sample([0, 1]), codes_sample([1, 0])])
    metric.process({}, [codes_sample([2, 2]), codes_sample([7, 7])])
    values = metric.evaluate(4)
    assert values == pytest.approx({
        'codebook/usage': 4 / 16,
        'codebook/perplexity': 4.
    })
    # p = 3/4, 1/4
    metric.process({}, [codes_sample([5, 5, 5, 6])])
    entropy = -.75 * np.log(.75) - .25 * np.log(.25)
    assert metric.evaluate(1)['codebook/perplexity'] == pytest.approx(
        np.exp(entropy))
    with pytest.raises(ValueError, match='num_codes=16, but sample 1 has '):
        metric.process({}, [codes_sample([16])])
    nothing = metric.compute_metrics([])
    assert nothing.keys() == {'usage', 'perplexity'}
    assert all(np.isnan(value) for value in nothing.values())
