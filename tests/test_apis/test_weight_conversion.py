# Copyright (c) The mpm_postometro authors. All rights reserved.
import pickle

import pytest
import torch

from mpm_postometro.apis.weight_conversion import (end_on_bad_weights,
                                                   fitting_configs,
                                                   print_weights,
                                                   write_weights)


@pytest.mark.parametrize('error', [
    ValueError('lacks a.weight'),
    FileNotFoundError('old.pth can not be found'),
    pickle.UnpicklingError('old.pth: damaged'),
])
def test_errors_name_the_file_once(error):
    with pytest.raises(SystemExit) as end, end_on_bad_weights('old.pth'):
        raise error
    message = str(end.value)
    assert message.count('old.pth') == 1 and str(error) in message


def test_configs_that_fit(tmp_path, capsys):
    folder = tmp_path / 'configs' / 'method'
    folder.mkdir(parents=True)
    for i, name in enumerate(('small_b', 'small_a', 'large')):
        (folder / f'{name}.py').write_text(f'model = dict(number={i})')

    def check(model):
        if model.number == 0:
            raise ValueError('other sizes')

    fits = fitting_configs(folder, 'small_*.py', check)
    assert fits == ['configs/method/small_a.py']
    print_weights('old.pth', ['kind', 'part'], fits * 2)
    print_weights('old.pth', ['kind'], [])
    assert capsys.readouterr().out.splitlines() == [
        'old.pth: kind', '  part', f'  fits: {fits[0]}', f'        {fits[0]}',
        'old.pth: kind', '  fits: none of our configs'
    ]


def test_weights_are_written_whole(tmp_path, capsys, monkeypatch):
    target = tmp_path / 'new' / 'ours.pth'
    state = dict(a=torch.ones(2))
    write_weights(target, state, 'kind', tmp_path / 'old.pth')
    assert f'wrote {target}' in capsys.readouterr().out
    written = torch.load(target, weights_only=True)
    assert written['meta'] == dict(kind='kind', converted_from='old.pth')
    assert written['state_dict']['a'].equal(state['a'])

    def full_disk(*args):
        raise OSError('disk full')

    monkeypatch.setattr(torch, 'save', full_disk)
    before = target.read_bytes()
    with pytest.raises(OSError, match='disk full'):
        write_weights(target, state, 'kind', tmp_path / 'old.pth')
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == ['ours.pth']
