#!/usr/bin/env bash
# Runs the tests: ./tests/run.sh [--slow] [pytest options]. Sets up what they need on first use.
# Tests marked slow are left out unless --slow is given.
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
