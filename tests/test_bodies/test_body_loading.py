# Copyright (c) The mpm_postometro authors. All rights reserved.
import os
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from mpm_postometro.bodies import load_body
from mpm_postometro.bodies.body_io import OPEN_BODY, SEARCH_VARIABLE
from mpm_postometro.bodies.safe_pickle import UnsafePickleError

V = 120


@pytest.fixture(autouse=True)
def nothing_to_find(monkeypatch, tmp_path):
    monkeypatch.delenv(SEARCH_VARIABLE, raising=False)
    (tmp_path / 'cwd').mkdir()
    monkeypatch.chdir(tmp_path / 'cwd')


@pytest.fixture
def folder(tmp_path, smpl_arrays):
    place = tmp_path / 'models'
    place.mkdir()
    (place / 'SMPL_NEUTRAL.pkl').write_bytes(pickle.dumps(smpl_arrays, 2))
    return place


def h36m_file(path, smpl_arrays, swapped):
    """A regressor whose right leg has x < 0, in either variant."""
    x = smpl_arrays['v_template'][:, 0]
    regressor = np.zeros((17, V))
    regressor[np.arange(17), np.argsort(x)[:17]] = 1
    regressor[4:7] = np.eye(V)[np.argsort(x)[-3:]]
    straight = regressor.copy()
    if swapped:
        regressor = regressor[[0, 4, 5, 6, 1, 2, 3] + list(range(7, 17))]
    np.save(path, regressor)
    return straight


def test_npz_and_pkl_are_the_same(folder, smpl_arrays, random_smpl):
    np.savez(
        folder / 'dense.npz', **{
            **smpl_arrays, 'J_regressor': smpl_arrays['J_regressor'].toarray()
        })
    np.savez(folder / 'sparse.npz', **smpl_arrays)
    inputs = (torch.randn(2, 10), torch.randn(2, 69), torch.randn(2, 3))
    expected = load_body(folder / 'SMPL_NEUTRAL.pkl')
    assert expected.name == 'smpl_neutral' and expected.num_vertices == V
    for name in ('dense.npz', 'sparse.npz'):
        body = load_body(folder / name)
        torch.testing.assert_close(
            body(*inputs).vertices,
            expected(*inputs).vertices)


def test_open_body_by_path(tmp_path):
    copy = tmp_path / 'mine.npz'
    copy.write_bytes(OPEN_BODY.read_bytes())
    torch.testing.assert_close(
        load_body(copy).v_template,
        load_body().v_template)


def test_search_order(folder, tmp_path, monkeypatch):
    expected = str((folder / 'SMPL_NEUTRAL.pkl').resolve())
    assert load_body(folder).source == expected
    monkeypatch.setenv(SEARCH_VARIABLE,
                       os.pathsep.join([str(tmp_path / 'no'),
                                        str(tmp_path)]))
    assert load_body('models').source == expected
    assert load_body('models/SMPL_NEUTRAL.pkl').source == expected
    # The default folder comes after the variable's, the working one before.
    for place in ('data/body_models/models', 'models'):
        local = tmp_path / 'cwd' / place
        local.mkdir(parents=True)
        local = local / 'SMPL_NEUTRAL.pkl'
        local.write_bytes((folder / 'SMPL_NEUTRAL.pkl').read_bytes())
        first = local if place == 'models' else expected
        assert load_body('models').source == str(first)
    (tmp_path / 'cwd/models/SMPL_NEUTRAL.pkl').unlink()
    monkeypatch.delenv(SEARCH_VARIABLE)
    assert 'data/body_models' in load_body('models').source


def test_gender_chooses_the_file(folder, smpl_arrays):
    smpl_arrays['v_template'] = smpl_arrays['v_template'] + 1
    (folder / 'basicmodel_m_lbs_10_207_0_v1.1.0.pkl').write_bytes(
        pickle.dumps(smpl_arrays, 2))
    male = load_body(folder, gender='male')
    assert male.name == 'smpl_male'
    torch.testing.assert_close(male.v_template,
                               load_body(folder).v_template + 1)
    with pytest.raises(ValueError, match="'neutral', 'male' or 'female'"):
        load_body(folder, gender='m')


def test_missing_model_says_which_where_and_whence(tmp_path, monkeypatch):
    monkeypatch.setenv(SEARCH_VARIABLE, str(tmp_path / 'named'))
    with pytest.raises(FileNotFoundError) as error:
        load_body('smpl/SMPL_NEUTRAL.pkl')
    text = str(error.value)
    for part in ('smpl/SMPL_NEUTRAL.pkl', 'neutral',
                 str(tmp_path / 'named' / 'smpl'), 'data/body_models/smpl',
                 'https://smpl.is.tue.mpg.de', SEARCH_VARIABLE, 'built-in'):
        assert part in text
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='SMPL_FEMALE.npz'):
        load_body(tmp_path / 'empty', gender='female')


def test_what_goes_with_the_model_is_missed_when_wanted(
        folder, tmp_path, monkeypatch):
    monkeypatch.setenv(SEARCH_VARIABLE, str(tmp_path / 'named'))
    body = load_body(folder)
    metro = 'https://github.com/microsoft/MeshTransformer'
    vertices = torch.zeros(1, V, 3)
    wanted = (
        (lambda: body.regress_joints(vertices, 'j14'),
         ('J_regressor_h36m_correct.npy', metro, "{'h36m17': PATH}")),
        (lambda: body.regress_joints(vertices, 'coco17'),
         ('J_regressor_coco.npy', 'Pose2Mesh', 'J_regressor_extra.npy', metro,
          "{'coco17': PATH}")),
        (lambda: body.joint_regressor('j24'),
         ('J_regressor_extra.npy', metro, '14 rows', "{'extra': PATH}")),
        (lambda: body.levels,
         ('mesh_downsampling.npz', metro, 'mesh_levels=PATH')),
    )  # yapf: disable
    places = ('SMPL_NEUTRAL.pkl', f'\n  {folder}\n', f'\n  {tmp_path}\n',
              f'\n  {tmp_path / "named"}\n', '\n  data/body_models\n')
    for want, parts in wanted:
        with pytest.raises(FileNotFoundError) as error:
            want()
        for part in (*parts, *places):
            assert part in str(error.value)
    # Where one looks is where it is found.
    np.save(tmp_path / 'J_regressor_coco.npy', np.zeros((17, V)))
    (tmp_path / 'named').mkdir()
    np.save(tmp_path / 'named' / 'J_regressor_extra.npy', np.ones((14, V)))
    body = load_body(folder)
    assert not body.joint_regressor('coco17').any()
    assert body.joint_regressor('j24').any()


def test_no_file_would_bring_it(folder):
    with pytest.raises(ValueError, match="no joint regressor 'hands', only"):
        load_body(folder).joint_regressor('hands')
    # SMPL's files are not for the built-in body.
    with pytest.raises(ValueError, match="no joint regressor 'j24', only"):
        load_body().joint_regressor('j24')


@pytest.mark.parametrize('swapped', [False, True])
@pytest.mark.parametrize('given', ['beside', 'folder', 'path', 'array'])
def test_h36m_legs_are_put_right(folder, tmp_path, smpl_arrays, swapped,
                                 given):
    place = folder if given == 'beside' else tmp_path / 'elsewhere'
    place.mkdir(exist_ok=True)
    file = place / 'J_regressor_h36m.npy'
    expected = h36m_file(file, smpl_arrays, swapped)
    regressors = dict(
        beside=None,
        folder=place,
        path=dict(h36m17=file),
        array=dict(h36m17=np.load(file)))[given]
    body = load_body(folder, regressors=regressors, dtype=torch.float64)
    np.testing.assert_array_equal(body.joint_regressor('h36m17'), expected)


def test_extra_regressor_gives_j24_and_coco17(folder, smpl_arrays):
    extra = np.random.default_rng(1).random((14, V))
    np.save(folder / 'J_regressor_extra.npy', extra)
    body = load_body(folder, dtype=torch.float64)
    own = smpl_arrays['J_regressor'].toarray()
    j24 = body.joint_regressor('j24').numpy()
    np.testing.assert_allclose(j24[0], own[8])  # right ankle
    np.testing.assert_allclose(j24[2], extra[5])  # right hip
    np.testing.assert_allclose(j24[19], extra[0])  # nose
    coco = body.joint_regressor('coco17').numpy()
    np.testing.assert_allclose(coco[0], extra[0])
    np.testing.assert_allclose(coco[1], extra[2])  # left eye
    np.testing.assert_allclose(coco[15], own[7])  # left ankle
    # A regressor made for COCO goes first; rows after 17 are not COCO's.
    made = np.random.default_rng(2).random((19, V))
    np.save(folder / 'J_regressor_coco.npy', made)
    body = load_body(folder, dtype=torch.float64)
    np.testing.assert_allclose(body.joint_regressor('coco17'), made[:17])


def test_a_short_extra_regressor(folder, tmp_path):
    """SPIN's file has the name of MeshTransformer's, but 9 rows."""
    short = np.zeros((9, V))
    np.save(tmp_path / 'mine.npy', short)
    for given in (short, tmp_path / 'mine.npy'):
        with pytest.raises(ValueError, match=r"'extra'.*14 rows.*\(9, 120\)"):
            load_body(folder, regressors=dict(extra=given))
    # Beside a model it does no harm until it would be needed.
    np.save(folder / 'J_regressor_extra.npy', short)
    body = load_body(folder)
    for name in ('j24', 'coco17'):
        with pytest.raises(
                FileNotFoundError,
                match=r'(?s)J_regressor_extra.npy.*14 rows'):
            body.joint_regressor(name)


def test_smpl_regressors_never_reach_the_open_body(tmp_path, monkeypatch):
    data = tmp_path / 'cwd/data/body_models'
    data.mkdir(parents=True)
    np.save(data / 'J_regressor_coco.npy', np.zeros((17, 6890)))
    own = np.random.default_rng(0).random((17, 6890))
    body = load_body(regressors=dict(h36m17=own), dtype=torch.float64)
    torch.testing.assert_close(
        body.joint_regressor('coco17').float(),
        load_body().joint_regressor('coco17'))
    assert np.allclose(body.joint_regressor('h36m17').sum(), own.sum())


def test_bad_regressors_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r"\['h36m'\].*'h36m17'"):
        load_body(folder, regressors=dict(h36m=np.zeros((17, V))))
    with pytest.raises(ValueError, match=r"'h36m17' must be \(K, 120\)"):
        load_body(folder, regressors=dict(h36m17=np.zeros((17, 9))))
    with pytest.raises(ValueError, match='h36m17'):
        load_body(folder, regressors=dict(h36m17=np.zeros((16, V))))
    with pytest.raises(FileNotFoundError, match='no_folder'):
        load_body(folder, regressors=tmp_path / 'no_folder')
    with pytest.raises(FileNotFoundError, match='no_file'):
        load_body(folder, mesh_levels=tmp_path / 'no_file.npz')


def test_broken_models_are_named(folder, smpl_arrays):

    def write(name, **changes):
        arrays = {**smpl_arrays, **changes}
        arrays = {k: v for k, v in arrays.items() if v is not None}
        (folder / name).write_bytes(pickle.dumps(arrays, 2))
        return folder / name

    for changes, text in ((dict(weights=None), r"\['weights'\] are missing"),
                          (dict(shapedirs='x'), "'shapedirs' must be"),
                          (dict(v_template=np.zeros((9, 3))), 'v_template'),
                          (dict(kintree_table=np.full((2, 24), 23)),
                           'parents must start')):
        with pytest.raises(ValueError, match=r'broken\.pkl.*' + text):
            load_body(write('broken.pkl', **changes))
    (folder / 'model.txt').write_text('x')
    with pytest.raises(ValueError, match='expected a .pkl or .npz'):
        load_body(folder / 'model.txt')


def test_commands_in_a_model_are_not_run(folder, tmp_path, smpl_arrays):

    class Payload:

        def __reduce__(self):
            return os.system, (f'touch {tmp_path / "ran"}', )

    (folder / 'evil.pkl').write_bytes(
        pickle.dumps({
            **smpl_arrays, 'extra': Payload()
        }, 2))
    with pytest.raises(UnsafePickleError, match='evil.pkl.*system'):
        load_body(folder / 'evil.pkl')
    np.savez(folder / 'evil.npz', **{
        **smpl_arrays, 'weights': np.array([Payload()], dtype=object)
    })
    with pytest.raises(UnsafePickleError, match="evil.npz, key 'weights'"):
        load_body(folder / 'evil.npz')
    # Nor in what goes with it.
    evil = np.array([Payload()], dtype=object)
    for name in ('J_regressor_h36m.npy', 'J_regressor_extra.npy',
                 'J_regressor_coco.npy', 'mesh_downsampling.npz'):
        save = np.save if name.endswith('.npy') else (
            lambda path, array: np.savez(path, A=array))
        save(folder / name, evil)
        with pytest.raises(UnsafePickleError, match=f'{name}.*system'):
            load_body(folder)
        (folder / name).unlink()
    assert not (tmp_path / 'ran').exists()


def test_a_changed_file_is_read_again(folder, smpl_arrays):
    file = folder / 'SMPL_NEUTRAL.pkl'
    before = load_body(file).v_template
    smpl_arrays['v_template'] = smpl_arrays['v_template'] + 1
    file.write_bytes(pickle.dumps(smpl_arrays, 4))
    torch.testing.assert_close(load_body(file).v_template, before + 1)


def test_mesh_levels_must_fit_the_body(folder, tmp_path):

    def objects(*items):
        array = np.empty(len(items), object)
        array[:] = items
        return array

    np.savez(
        folder / 'mesh_downsampling.npz',
        A=objects(sp.csc_matrix(np.eye(9)), sp.csc_matrix(np.eye(3))),
        U=objects(sp.csc_matrix(np.eye(9)[:, :3])),
        D=objects(sp.csc_matrix(np.eye(9)[:3])),
        F=objects(np.array([[0, 1, 2]]), np.array([[0, 1, 2], [0, 2, 1]])))
    with pytest.raises(ValueError, match='9 vertices, the body 120'):
        load_body(folder)
