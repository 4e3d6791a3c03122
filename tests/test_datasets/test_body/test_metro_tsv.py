# Copyright (c) The mpm_postometro authors. All rights reserved.
import base64
import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny_tsv import jpeg, pictures, write_images, write_tsv

from mpm_postometro.datasets.body.metro_tsv import (TSVFile, TSVRows,
                                                    read_linelist)

COUNT = 9


@pytest.fixture
def path(tmp_path):
    return write_images(tmp_path / 'train.img.tsv', pictures(COUNT))


def _colour(image):
    return image.reshape(-1, 3).mean(0).round().astype(int).tolist()


def _colours(file, rows):
    return [_colour(file.image(row)) for row in rows]


EXPECTED = [_colour(x) for x in pictures(COUNT)]


def _same(colours, rows):
    return np.abs(np.array(colours) -
                  np.array(EXPECTED)[list(rows)]).max() <= 2


def test_rows_in_any_order(path):
    file = TSVFile(path)
    assert len(file) == COUNT
    for row in (4, 0, COUNT - 1, 4, 3):
        assert file.key(row) == f'images/{row}.jpg'
        assert file.image(row).shape == (24, 32, 3)
        assert _same(_colours(file, [row]), [row])
    with pytest.raises(IndexError, match=f'{COUNT} rows, no row {COUNT}'):
        file[COUNT]
    with pytest.raises(IndexError):
        file[-1]


@pytest.mark.parametrize('text, expected', [
    ('{"a": [1, 2]}', dict(a=[1, 2])),
    ('[{"height": 3, "width": 4}]', [dict(height=3, width=4)]),
])
def test_json(tmp_path, text, expected):
    file = TSVFile(write_tsv(tmp_path / 'x.label.tsv', [('k', text)] * 2))
    assert file.json(1) == expected


def test_index_is_made_where_there_is_none(path, monkeypatch):
    lineidx = path.with_suffix('.lineidx')
    given = lineidx.read_text()
    lineidx.unlink()
    # rows across the borders of what is read at a time
    monkeypatch.setattr('mpm_postometro.datasets.body.metro_tsv._CHUNK', 100)
    assert _same(_colours(TSVFile(path), range(COUNT)), range(COUNT))
    assert lineidx.read_text() == given
    assert sorted(x.name for x in path.parent.iterdir()) == [
        'train.img.lineidx', 'train.img.tsv'
    ]


def test_index_of_a_folder_that_cannot_be_written(path, monkeypatch):
    path.with_suffix('.lineidx').unlink()

    def refuse(*_):
        raise PermissionError('read-only')

    monkeypatch.setattr('mpm_postometro.datasets.body.metro_tsv.atomic_write',
                        refuse)
    with pytest.warns(UserWarning, match='read-only'):
        file = TSVFile(path)
    assert len(file) == COUNT


def _read_all(file, seed):
    order = np.random.RandomState(seed).permutation(COUNT).tolist() * 5
    return os.getpid(), _same(_colours(file, order), order)


def _run(context, file, workers):
    with context.Pool(workers) as pool:
        results = pool.starmap(_read_all,
                               [(file, i) for i in range(2 * workers)])
    return results


def test_forked_workers(path):
    file = TSVFile(path)
    file.image(3)  # the parent's file is open when it forks
    results = _run(multiprocessing.get_context('fork'), file, 2)
    assert all(good for _, good in results)
    assert _read_all(file, 0)[1]


def test_a_forked_child_leaves_the_position_of_its_parent_alone(path):
    file = TSVFile(path)
    file.image(3)
    position = file._local.file.tell()
    child = os.fork()
    if child == 0:
        os._exit(0 if _same(_colours(file, [7, 1]), [7, 1]) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert file._local.file.tell() == position


def test_threads_have_a_file_each(path):
    file = TSVFile(path)
    together = threading.Barrier(2, timeout=60)

    def read(row):
        right = _same(_colours(file, [row]), [row])
        together.wait()
        return right, id(file._local.file)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(read, (2, 6)))
    assert all(right for right, _ in results)
    assert results[0][1] != results[1][1]


def test_spawned_workers(path):
    results = _run(multiprocessing.get_context('spawn'), TSVFile(path), 1)
    assert all(good and pid != os.getpid() for pid, good in results)


def test_pickled_twice(path):
    file = pickle.loads(pickle.dumps(TSVFile(path)))
    assert _same(_colours(pickle.loads(pickle.dumps(file)), [5]), [5])


# Files that are cut off


@pytest.mark.parametrize('lineidx', [True, False])
@pytest.mark.parametrize('lost', [1, 30, 1500])
def test_cut_off_file(path, lineidx, lost):
    data = path.read_bytes()
    assert len(data) > 3 * lost
    path.write_bytes(data[:-lost])
    if not lineidx:
        path.with_suffix('.lineidx').unlink()
    with pytest.raises(ValueError, match='train.img.tsv.*cut off'):
        TSVFile(path)


def test_file_that_is_cut_off_later(path):
    file = TSVFile(path)
    data = path.read_bytes()
    path.write_bytes(data[:len(data) // 2])
    assert _same(_colours(file, [1]), [1])
    with pytest.raises(ValueError, match=f'row {COUNT - 2} ends at byte'):
        file[COUNT - 2]


def test_empty_and_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing.tsv does not exist'):
        TSVFile(tmp_path / 'nothing.tsv')
    (tmp_path / 'empty.tsv').touch()
    with pytest.raises(ValueError, match='empty.tsv is empty'):
        TSVFile(tmp_path / 'empty.tsv')


# Wrong indices


def _offsets(path):
    return [int(x) for x in path.with_suffix('.lineidx').read_text().split()]


def _set_offsets(path, offsets):
    path.with_suffix('.lineidx').write_text(''.join(f'{x}\n' for x in offsets))


@pytest.mark.parametrize('change, message', [
    (lambda x: x[1:], 'must begin with 0, got'),
    (lambda x: [], 'must begin with 0, got'),
    (lambda x: x[:2] + x[1:], 'line 3: offsets must increase, got'),
    (lambda x: x + [10**6], 'row 9 of 10 begins at 1000000: the file is cut'),
    (lambda x: x[:-1], 'row 7 should end at byte .* there is a line break at'),
    (lambda x: x[:1] + x[2:], 'row 0 should end at .* line break at byte'),
    (lambda x: x[:3] + ['4x'] + x[4:], "line 4 should be a byte .*got b'4x'"),
    (lambda x: x[:3] + ['9' * 30], 'line 4 should be a byte offset'),
    (lambda x: x[:-1] + [x[-1] + 5], 'row 8 does not begin at byte'),
])
def test_wrong_index_at_once(path, change, message):
    _set_offsets(path, change(_offsets(path)))
    with pytest.raises(ValueError, match=message):
        TSVFile(path)


@pytest.mark.parametrize('shift', [-1, 1, -40, 40])
def test_wrong_index_in_the_middle(path, shift):
    offsets = _offsets(path)
    offsets[4] += shift
    _set_offsets(path, offsets)
    file = TSVFile(path)
    assert _same(_colours(file, [2, 5]), [2, 5])
    for row in (3, 4):
        with pytest.raises(
                ValueError,
                match=f'train.img.tsv, row {row} .*'
                'train.img.lineidx.*made anew'):
            file[row]


def test_index_of_another_file(path, tmp_path):
    other = write_images(tmp_path / 'b.img.tsv', pictures(COUNT, (40, 80)))
    with pytest.raises(ValueError, match='row 0 .*b.img.lineidx'):
        TSVFile(path, other.with_suffix('.lineidx'))


# Wrong content


def _whole():
    return jpeg(
        np.random.RandomState(0).randint(0, 255, (64, 64, 3)).astype(np.uint8))


@pytest.mark.parametrize('column, message', [
    (b'not base64!', 'base64 of a JPEG file'),
    (base64.b64encode(b'GIF89a...')[:-2], 'base64 of a JPEG file'),
    (base64.b64encode(b'no picture at all'),
     "is no picture: .*, got 17 bytes that begin with b'no pictu'"),
    (b'', 'expected a JPEG file or the like, got 0 bytes'),
    (base64.b64encode(_whole()[:-900]), 'JPEG of .* bytes that is cut off'),
    (base64.b64encode(_whole()[:40]), 'no picture'),
    (b'{"a": 1}', 'base64 of a JPEG file'),
])
def test_content_that_is_no_jpeg(tmp_path, column, message):
    good = base64.b64encode(_whole())
    rows = [('a', good), ('b', column), ('c', good)]
    file = TSVFile(write_tsv(tmp_path / 'x.img.tsv', rows))
    file.image(0), file.image(2)
    with pytest.raises(ValueError, match=f'x.img.tsv, row 1 .*{message}'):
        file.image(1)


def test_a_preview_inside_the_jpeg_does_not_hide_its_end(tmp_path):
    whole = _whole()
    preview = jpeg(np.zeros((8, 8, 3), np.uint8))
    segment = b'\xff\xe1' + (len(preview) + 2).to_bytes(2, 'big') + preview
    whole = whole[:2] + segment + whole[2:]
    rows = [('a', base64.b64encode(whole)),
            ('b', base64.b64encode(whole[:-900])),
            ('c', base64.b64encode(whole + b'junk after it'))]
    file = TSVFile(write_tsv(tmp_path / 'x.img.tsv', rows))
    assert file.image(0).shape == file.image(2).shape == (64, 64, 3)
    with pytest.raises(ValueError, match='row 1 has .* a JPEG .* cut off'):
        file.image(1)


def test_one_column_and_no_json(tmp_path):
    file = TSVFile(write_tsv(tmp_path / 'x.tsv', [('alone', ), ('k', '[1,')]))
    with pytest.raises(ValueError, match='row 0 has one column, expected'):
        file.image(0)
    with pytest.raises(ValueError, match='x.tsv, row 1 .*column of JSON'):
        file.json(1)


# Which rows


def test_rows_of_several_files(tmp_path):
    files = [
        TSVFile(write_images(tmp_path / f'{n}.img.tsv', pictures(n)))
        for n in (3, 5)
    ]
    assert len(TSVRows(files)) == 8
    file, row = TSVRows(files)[4]
    assert file is files[1] and row == 1
    table = np.array([(1, 4), (0, 0), (1, 4)])
    rows = TSVRows(files, table, 'list')
    assert [x[1] for x in rows] == [4, 0, 4]
    for wrong, message in (((2, 0), 'no file 2, only 2'), ((0, 3),
                                                           'no row 3 in')):
        with pytest.raises(ValueError, match=f'list, line 2: .*{message}'):
            TSVRows(files, np.array([(0, 0), wrong]), 'list')


def test_linelist(tmp_path):
    path = tmp_path / 'train.linelist.tsv'
    path.write_text('0\t5\n1\t2\n')
    np.testing.assert_array_equal(read_linelist(path, 2), [[0, 5], [1, 2]])
    path.write_text('4\n7\n')
    np.testing.assert_array_equal(read_linelist(path, 1), [[4], [7]])
    for text in ('4\n\n', '4\nx\n', '4\n-1\n', '4\n1\t2\n'):
        path.write_text(text)
        with pytest.raises(ValueError, match='line 2: expected 1 row number,'):
            read_linelist(path, 1)
    path.write_text('4\n')
    with pytest.raises(ValueError, match='line 1: expected 2 row numbers'):
        read_linelist(path, 2)
