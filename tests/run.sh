#!/usr/bin/env bash
# Runs the tests: ./tests/run.sh [--slow] [pytest options]. The first run makes .venv (see path.sh).
# Tests marked slow run only with --slow. Files run side by side, one a core; -n 0 runs all in one process.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

arguments=(-q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder) # conftest.py has the order
if [[ ${1:-} == --slow ]]; then
  shift
else
  arguments+=(-m "not slow")
fi
ML2021_EXTRAS="test"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} NUMBA_NUM_THREADS=${NUMBA_NUM_THREADS:-1} # the cores are busy with other files
unset PYTHONDONTWRITEBYTECODE # dozens of processes would compile all sources anew
. ./path.sh || exit 1
exec "$ml2021_python" -m pytest "${arguments[@]}" "$@"
