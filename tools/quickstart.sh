#!/usr/bin/env bash
# From a fresh clone to a trained, tested and visible PostoMETRO:
# makes .venv, installs, trains on the built-in data, tests, writes
# work_dirs/quickstart/report.html. Arguments go to tools/quickstart.py.
# Interrupt it as you like: run again, and it resumes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
started=$(date +%s)
bash tools/setup_env.sh
# MMEngine's import of pkg_resources warns; nobody here can do anything about it.
export PYTHONWARNINGS=${PYTHONWARNINGS:-ignore:pkg_resources}
exec .venv/bin/python tools/quickstart.py \
    --setup-seconds "$(($(date +%s) - started))" "$@"
