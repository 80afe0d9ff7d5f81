#!/usr/bin/env bash
# Runs the tests that need k2: ./tests/run_k2.sh [pytest options]
# The first run makes an environment (2 GB) in ~/.cache/ml2021/k2, or in the folder that ML2021_K2_ENV names, of CPython
# 3.9, torch 1.13.1 and k2 1.23.4, the newest k2 that pip can install. Without python3.9 it says so and exits with 0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=${ML2021_K2_ENV:-${XDG_CACHE_HOME:-$HOME/.cache}/ml2021/k2}
requirements=(
  "torch==1.13.1" "k2==1.23.4" "numpy<2" numba "lhotse==1.27.0" lilcom urllib3 kaldialign kaldifst sentencepiece
  soundfile tensorboard six tqdm pyyaml pypinyin pytest
)

# Prints a working python3.9: the one on PATH, or one that pyenv has installed but not activated.
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
    echo "run_k2.sh: skipped: there is no python3.9 with venv, the newest Python that k2 1.23.4 has wheels for" >&2
    exit 0
  fi
  echo "run_k2.sh: setting up $environment, once: 2 to 5 minutes" >&2
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
