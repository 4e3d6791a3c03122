#!/usr/bin/env bash
# Copyright (c) The mpm_postometro authors. All rights reserved.
# Make .venv with everything this project needs, or leave at once if it is
# there and up to date. quickstart.sh and run_tests.sh call this first.
#   bash tools/setup_env.sh
# PYTHON=/path/to/python3.11 picks the interpreter. pip reads its own settings
# (PIP_INDEX_URL and so on) as usual; docs/install.md says how to choose the
# CPU or the CUDA build of torch.
set -euo pipefail

SUPPORTED="3.11"
ROOT=$(cd "$(dirname "$0")/.." && pwd)
VENV="$ROOT/.venv"
STAMP="$VENV/setup.stamp"
LOG="$VENV/setup.log"
cd "$ROOT"

version_of() { # "3.11", or nothing if it does not run
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null ||
        true
}

supported() {
    local version
    version=$(version_of "$1")
    [ -n "$version" ] && [[ " $SUPPORTED " == *" $version "* ]]
}

find_python() {
    local candidate
    for version in $SUPPORTED; do
        set -- "$@" "python$version"
    done
    for candidate in ${PYTHON:+"$PYTHON"} "$@" python3 python; do
        if supported "$candidate"; then
            command -v "$candidate"
            return
        fi
        if [ -n "${PYTHON:-}" ] && [ "$candidate" = "$PYTHON" ]; then
            break # what was asked for, or nothing
        fi
    done
    echo "No suitable Python: this project is tested with Python" \
        "$SUPPORTED${PYTHON:+, and PYTHON=$PYTHON is not one}." \
        "Install it, or point PYTHON at one, and run this again." >&2
    return 1
}

fingerprint() { # of all that decides what gets installed
    "$VENV/bin/python" - "$ROOT" <<'PY'
import hashlib
import sys
from pathlib import Path

root = Path(sys.argv[1])
digest = hashlib.sha256(f'{root} {sys.version}'.encode())
for path in sorted([
        root / 'setup.py', root / 'requirements.txt',
        root / 'stubs/chumpy/pyproject.toml', root / 'tools/setup_env.sh',
        *root.glob('requirements/*.txt')]):
    digest.update(path.name.encode() + path.read_bytes())
print(digest.hexdigest())
PY
}

up_to_date() {
    [ -s "$STAMP" ] && supported "$VENV/bin/python" &&
        [ "$(cat "$STAMP")" = "$(fingerprint)" ]
}

# `venv` links the interpreter first and brings pip last: a folder without a
# pip that runs was left half made (or its interpreter is gone).
complete() {
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1
}

with_progress() { # label command...: output to the log, time on the screen
    local label=$1 start=$SECONDS pid status=0 every=15
    shift
    "$@" >>"$LOG" 2>&1 &
    pid=$!
    trap 'kill "$pid" 2>/dev/null || true; exit 130' INT TERM
    [ -t 1 ] && every=1
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if [ $(((SECONDS - start) % every)) -eq 0 ]; then
            if [ -t 1 ]; then
                printf '\r%s ... %d s ' "$label" $((SECONDS - start))
            else
                echo "$label ... $((SECONDS - start)) s"
            fi
        fi
    done
    wait "$pid" || status=$?
    trap - INT TERM
    [ -t 1 ] && printf '\r'
    if [ "$status" -ne 0 ]; then
        echo "$label: failed. The end of $LOG:" >&2
        tail -n 25 "$LOG" >&2
        exit "$status"
    fi
    echo "$label: done in $((SECONDS - start)) s"
}

if up_to_date; then
    exit 0
fi
if ! complete; then
    if [ -e "$VENV" ]; then
        echo "$VENV is half made: its pip does not run"
    fi
    python=$(find_python)
    echo "Making $VENV with $python"
    "$python" -m venv --clear "$VENV"
elif ! supported "$VENV/bin/python"; then
    echo "$VENV holds Python $(version_of "$VENV/bin/python"); this" \
        "project is tested with Python $SUPPORTED. Remove the folder and" \
        "run this again." >&2
    exit 1
fi

# The stamp goes first and comes back last: a set-up that was interrupted is
# run again.
wanted=$(fingerprint)
rm -f "$STAMP"
: >"$LOG"
export PIP_DISABLE_PIP_VERSION_CHECK=1
with_progress "Installing packages (a few minutes the first time)" \
    "$VENV/bin/python" -m pip install -r requirements.txt
if "$VENV/bin/python" -c 'import cv2' 2>&1 | grep -q 'libGL'; then
    # A machine without a screen: the same version, built without windows.
    echo "libGL is not there: taking opencv-python-headless instead"
    with_progress "Exchanging opencv-python" "$VENV/bin/python" -m pip \
        install --force-reinstall --no-deps -c requirements/constraints.txt \
        opencv-python-headless
fi
with_progress "Checking the installation" \
    "$VENV/bin/python" -c 'import mpm_postometro, mmpose.apis'
echo "$wanted" >"$STAMP"
