#!/usr/bin/env bash
# Runs the tests: ./tests/run.sh [--slow] [pytest options]. The first run makes .venv (see path.sh).
# Tests marked slow run only with --slow.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

arguments=(-q)
if [[ ${1:-} == --slow ]]; then
  shift
else
  arguments+=(-m "not slow")
fi
ML2021_EXTRAS="test"
. ./path.sh || exit 1
exec "$ml2021_python" -m pytest "${arguments[@]}" "$@"
