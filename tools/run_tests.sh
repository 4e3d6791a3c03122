#!/usr/bin/env bash
# Copyright (c) The mpm_postometro authors. All rights reserved.
# Set up .venv if need be, then run the tests:
#   bash tools/run_tests.sh [arguments of pytest]
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
bash "$ROOT/tools/setup_env.sh"
cd "$ROOT"
# Small tensors: more threads than processes only get into each other's way.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export MPLBACKEND=${MPLBACKEND:-Agg}
# A process a core; all tests of a file in one, for what they share. `-n 0`: one.
exec "$ROOT/.venv/bin/python" -m pytest -n auto --dist loadfile "$@"
