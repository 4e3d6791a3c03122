# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Motion capture as people have it, to the one file that we train on.

Reads CMU's .asf and .amc, .bvh of common rigs and AMASS's .npz, and writes an
.npz for ``MocapSequenceDataset`` and ``MocapKeypointDataset``: Human3.6M's
joints, metres, z up, and SMPL's pose where the source tells it. Motions are
cut where a joint jumps. What was dropped, and why, goes to the terminal and
to a .json file beside the result. Started again after an interruption, it
goes on where it was.

Example:
    python tools/dataset_converters/mocap.py data/cmu_val.npz \\
        data/all_asfamc/subjects --subjects 05 127 --fps 60 \\
        --index data/cmu-mocap-index-text.txt
"""
import argparse
import hashlib
import shutil
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from mpm_postometro.apis.progress import ProgressLine
from mpm_postometro.bodies import BodyModel, load_body
from mpm_postometro.datasets.body.motion_files import (Motion, read_amass,
                                                       read_asf_amc, read_bvh)
from mpm_postometro.files import atomic_write, write_json

SUFFIXES = ('.amc', '.bvh', '.npz')
ROUNDING = 4  # decimals that are kept: 0.1 mm


class Trial(NamedTuple):
    """One file of motion capture."""

    name: str
    subject: str
    path: Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n')[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('out', type=Path, help='.npz file to write')
    parser.add_argument(
        'sources', type=Path, nargs='+', help='files, or folders of them')
    parser.add_argument(
        '--fps', type=float, default=60., help='frames a second to keep')
    parser.add_argument(
        '--subjects', nargs='+', help='takes only these; default: all')
    parser.add_argument(
        '--index',
        type=Path,
        help="text file of what is done in each trial, '01_01 jump' a line")
    parser.add_argument(
        '--max-acceleration',
        type=float,
        default=300.,
        help='m/s2; a motion is cut where a joint has more')
    parser.add_argument(
        '--min-frames',
        type=int,
        default=30,
        help='shorter pieces are dropped')
    parser.add_argument(
        '--body',
        help='body model for AMASS, as load_body takes it; default: built-in')
    parser.add_argument(
        '--metres-per-unit',
        type=float,
        help='of .bvh files; default: as the length of the legs says')
    return parser.parse_args()


def find_trials(sources: List[Path],
                subjects: Optional[List[str]]) -> List[Trial]:
    """The files that there are, by name.

    CMU's are named subject_trial; of AMASS the folders are the subject.

    Raises:
        SystemExit: If there is none, or two have the same name.
    """
    trials: Dict[str, Trial] = {}
    for source in sources:
        if not source.exists():
            raise SystemExit(f'{source} does not exist')
        files = [source] if source.is_file() else sorted(
            p for p in source.rglob('*') if p.suffix.lower() in SUFFIXES)
        for path in files:
            if path.suffix.lower() == '.npz' and source.is_dir():
                name = path.relative_to(source).with_suffix('').as_posix()
                subject = name.rpartition('/')[0] or source.name
            else:
                name = path.stem
                subject = name.partition('_')[0]
            if subjects is not None and subject not in subjects:
                continue
            if name in trials:
                raise SystemExit(f"two files are trial '{name}': "
                                 f'{trials[name].path} and {path}')
            trials[name] = Trial(name, subject, path)
    if not trials:
        raise SystemExit(f"no {', '.join(SUFFIXES)} file of the wanted "
                         f"subjects in {', '.join(map(str, sources))}")
    return [trials[name] for name in sorted(trials)]


def read(trial: Trial, args: argparse.Namespace,
         body: Optional[BodyModel]) -> Motion:
    """Read a trial by its suffix."""
    suffix = trial.path.suffix.lower()
    if suffix == '.bvh':
        return read_bvh(trial.path, args.fps, args.metres_per_unit)
    if suffix == '.npz':
        return read_amass(trial.path, body, args.fps)
    asf = trial.path.with_name(f'{trial.subject}.asf')
    return read_asf_amc(asf, trial.path, args.fps)


def cut(motion: Motion, max_acceleration: float,
        min_frames: int) -> Tuple[List[slice], int, int]:
    """Pieces without jumps.

    Returns:
        tuple: The pieces; the number of frames in jumps, and in pieces that
        are too short.
    """
    change = np.diff(motion.joints, 2, axis=0) * motion.fps**2
    jumps = np.linalg.norm(change, axis=-1).max(1) > max_acceleration
    bad = np.concatenate([[False], jumps, [False]])[:len(motion.joints)]
    edges = np.flatnonzero(np.diff(np.concatenate([[True], bad, [True]])))
    pieces = [slice(*ends) for ends in edges.reshape(-1, 2)]
    kept = [p for p in pieces if p.stop - p.start >= min_frames]
    short = sum(p.stop - p.start for p in pieces if p not in kept)
    return kept, int(bad.sum()), short


def convert(trial: Trial, args: argparse.Namespace, body: Optional[BodyModel],
            part: Path, key: str) -> None:
    """Read, cut and store one trial.

    Raises:
        ValueError: If it cannot be read.
    """
    motion = read(trial, args, body)
    pieces, jumps, short = cut(motion, args.max_acceleration, args.min_frames)
    arrays = dict(
        key=key,
        pieces=np.array([(p.start, p.stop) for p in pieces],
                        int).reshape(-1, 2),
        jumps=jumps,
        short=short,
        **{
            k: v
            for k, v in motion._asdict().items() if v is not None
        })
    atomic_write(part, lambda name: np.savez_compressed(name, **arrays))


def is_done(part: Path, key: str) -> bool:
    """Whether a trial was stored before, from the same file and settings."""
    if not part.is_file():
        return False
    with np.load(part, allow_pickle=False) as file:
        return str(file['key']) == key


def collect(trials: List[Trial], parts: Dict[str, Path],
            actions: Dict[str, str], fps: float) -> Tuple[dict, List[dict]]:
    """All trials in one set of arrays, and what was dropped of them."""
    frames: Dict[str, list] = {}
    clips: Dict[str, list] = {k: [] for k in ('length', 'name', 'subject',
                                              'action')}  # yapf: disable
    rest: Dict[str, np.ndarray] = {}
    dropped = []
    for trial in trials:
        if trial.name not in parts:
            continue
        with np.load(parts[trial.name], allow_pickle=False) as file:
            part = dict(file)
        for reason, count in (('jump', part['jumps']), ('short piece',
                                                        part['short'])):
            if count:
                dropped.append(
                    dict(trial=trial.name, frames=int(count), reason=reason))
        whole = len(part['pieces']) == 1 and not part['jumps']
        for i, (start, stop) in enumerate(part['pieces']):
            clips['length'].append(stop - start)
            clips['name'].append(trial.name if whole else f'{trial.name}.{i}')
            clips['subject'].append(trial.subject)
            clips['action'].append(actions.get(trial.name, ''))
            for key in ('joints', 'pose', 'trans'):
                if key in part:
                    frames.setdefault(key, []).append(
                        part[key][start:stop].round(ROUNDING))
        if len(part['pieces']) and 'rest_offsets' in part:
            rest.setdefault(trial.subject, part['rest_offsets'])
    if not clips['length']:
        raise SystemExit('nothing is left of all trials')
    arrays = dict(joints_3d=np.concatenate(frames.pop('joints')), fps=fps)
    if all(len(x) == len(clips['length']) for x in frames.values()):
        arrays.update({k: np.concatenate(v) for k, v in frames.items()})
    if set(rest) == set(clips['subject']):
        arrays['subjects'] = np.array(list(rest))
        arrays['rest_offsets'] = np.stack(list(rest.values()))
    lengths = np.array(clips.pop('length'))
    arrays.update(
        clip_start=lengths.cumsum() - lengths,
        clip_length=lengths,
        **{
            f'clip_{k}': np.array(v)
            for k, v in clips.items()
        })
    return arrays, dropped


def read_index(path: Optional[Path]) -> Dict[str, str]:
    """What is done in each trial."""
    if path is None:
        return {}
    if not path.is_file():
        raise SystemExit(f'--index: {path} does not exist')
    rows = (
        line.split(None, 1)
        for line in path.read_text(encoding='latin1').splitlines())
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def main() -> None:
    args = parse_args()
    if args.out.suffix != '.npz':
        raise SystemExit(f'{args.out} must end with .npz')
    actions = read_index(args.index)
    trials = find_trials(args.sources, args.subjects)
    body = None
    if any(t.path.suffix.lower() == '.npz' for t in trials):
        body = load_body(args.body)
    folder = args.out.with_name(args.out.name + '.parts')
    settings = (args.fps, args.max_acceleration, args.min_frames,
                args.metres_per_unit, body and body.identity)
    parts, dropped, resumed, progress = {}, [], 0, ProgressLine()
    for done, trial in enumerate(trials):
        progress.update('motion capture', done / len(trials),
                        f'{done}/{len(trials)}  {trial.name}')
        state = trial.path.stat()
        key = repr(
            (settings, str(trial.path), state.st_size, state.st_mtime_ns))
        # names may have slashes, and differ in nothing but their case
        digest = hashlib.sha256(trial.name.encode()).hexdigest()[:24]
        part = folder / f'{digest}.npz'
        try:
            if is_done(part, key):
                resumed += 1
            else:
                convert(trial, args, body, part, key)
            parts[trial.name] = part
        except (ValueError, FileNotFoundError) as error:
            progress.say(f'dropped {trial.name}: {error}')
            dropped.append(
                dict(trial=trial.name, frames='all', reason=str(error)))
    arrays, cuts = collect(trials, parts, actions, args.fps)
    for row in cuts:
        progress.say(f"cut {row['trial']}: {row['frames']} frames, "
                     f"{row['reason']}")
    atomic_write(args.out, lambda name: np.savez_compressed(name, **arrays))
    report = args.out.with_suffix('.json')
    write_json(
        report,
        dict(
            clips=len(arrays['clip_name']),
            frames=len(arrays['joints_3d']),
            fps=args.fps,
            dropped=dropped + cuts))
    shutil.rmtree(folder, ignore_errors=True)
    if resumed:
        progress.say(f'{resumed} of {len(trials)} trials were there already')
    progress.say(
        f"wrote {args.out}: {len(arrays['clip_name'])} clips, "
        f"{len(arrays['joints_3d'])} frames; {len(dropped)} of {len(trials)} "
        f'trials dropped, {sum(r["frames"] for r in cuts)} frames cut out '
        f'({report.name})')


if __name__ == '__main__':
    main()
