#!/usr/bin/env bash
# Runs the tests that need k2 with a real k2: ./tests/run_k2.sh [pytest options]
# Makes an environment of its own on first use, outside the project: CPython 3.9 with torch 1.13.1 and k2 1.23.4, the
# newest k2 that a package registry has (2 GB). ML2021_K2_ENV names another place for it.
# Where there is no python3.9 it says so and ends with 0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=${ML2021_K2_ENV:-${XDG_CACHE_HOME:-$HOME/.cache}/ml2021/k2}
requirements=(
  "torch==1.13.1" "k2==1.23.4" "numpy<2" numba "lhotse==1.27.0" lilcom urllib3 kaldialign kaldifst sentencepiece
  soundfile tensorboard six tqdm pyyaml pypinyin pytest
)

# Prints a python3.9 that runs: the one on PATH, or one of pyenv's that is not switched on.
find_python() {
  local candidate
  for candidate in python3.9 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.9.*/bin/python3.9; do
    if "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}

make_environment() {
  local python
  if ! python=$(find_python); then
    echo "run_k2.sh: skipped: no python3.9 with venv here, and k2 1.23.4 has wheels for no newer one" >&2
    exit 0
  fi
  echo "run_k2.sh: making $environment, once: 2 to 5 minutes" >&2
  rm -rf "$environment"
  "$python" -m venv "$environment"
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "${requirements[@]}"
  echo "${requirements[*]}" >"$environment/.complete"
}

mkdir -p "$(dirname "$environment")"
exec 9>"$environment.lock"
if command -v flock >/dev/null; then flock 9; fi
[[ $(cat "$environment/.complete" 2>/dev/null) == "${requirements[*]}" ]] || make_environment
exec 9>&-

mapfile -t files < <(grep -rl --include='test_*.py' 'pytest\.mark\.needs_k2' tests)
export PYTHONPATH=$PWD:$PWD/egs OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$environment/bin/python" -m pytest -q -m needs_k2 "$@" "${files[@]}"
