# Sourced by run.sh, by tests/run.sh and by your own bash:   . ./path.sh
#
# Makes .venv on first use, updates it when pyproject.toml or constraints.txt change, puts it on PATH and the project on
# PYTHONPATH, looks for k2 and icefall, and sets ml2021_python to the interpreter to use. On failure it prints an error
# and returns 1; it never exits your shell. It reads these variables:
#   ML2021_PYTHON  an interpreter with everything installed, to be used instead of .venv
#   ML2021_EXTRAS  an extra of pyproject.toml to install too; tests/run.sh sets it to "test"
#   ICEFALL_ROOT   an icefall checkout (optional; default: icefall.root in asr.yaml of the folder ML2021_CONF)

if [ -z "${BASH_VERSION:-}" ]; then echo "path.sh: error: source it from bash (this is another shell)" >&2; return 1; fi

_ml2021_say() { printf '%s (path.sh) %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$*" >&2; }
_ml2021_fail() { printf 'path.sh: error: %s\n' "$*" >&2; return 1; }
# Is $1 a Python that runs, of a version that torch has wheels for, with the modules $2 (may be empty)?
_ml2021_python_fits() { "$1" -c "import sys$2; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))" &>/dev/null; }

# Makes or updates .venv in the project $1 with the extra $2 (may be empty), in a subshell. A complete .venv has stamps
# with the project's folder and a checksum of the requirements, and no .changing (see local/install.py).
_ml2021_make_venv() (
  root=$1 extra=$2 venv=$1/.venv stamp="$1 $(cat "$1/pyproject.toml" "$1/constraints.txt" | cksum)"
  is_whole() { [ -x "$venv/bin/python" ] && [ ! -e "$venv/.changing" ]; }
  has_stamp() { [ "$(cat "$venv/.complete$1" 2>/dev/null)" = "$stamp" ]; }
  is_complete() { is_whole && has_stamp "" && has_stamp "${extra:+-$extra}"; }
  ! is_complete || exit 0
  exec 9>|"$venv.lock" # of two starts at once, the second waits for the first
  if command -v flock >/dev/null && ! flock -n 9; then _ml2021_say "Waiting for another set-up of .venv" && flock 9; fi
  ! is_complete || exit 0
  unset PYTHONPATH PYTHONHOME # packages in these folders must not count as installed
  old_stamp=$(cat "$venv/.complete" 2>/dev/null)
  if ! is_whole || [ "${old_stamp% * *}" != "$root" ]; then # absent, half-made or moved
    PATH=${PATH//"$venv/bin:"/}
    for python in python3{,.13,.12,.11,.10} none; do ! _ml2021_python_fits "$python" ", venv, ensurepip" || break; done
    [ "$python" != none ] || _ml2021_fail "no Python of 3.10-3.13 with venv and pip on PATH (python3 is:" \
      "$(python3 --version 2>&1)). Install one (Debian, Ubuntu: apt install python3-venv), or set ML2021_PYTHON to an" \
      "interpreter that has everything installed" || exit 1
    rm -rf "$venv"
    free_gb=$(($(df -Pk "$root" | awk 'NR == 2 {print $4}') / 1024 / 1024))
    [ "$free_gb" -ge 8 ] || _ml2021_fail "$free_gb GB free on the disk of $root, but .venv needs 8 GB" || exit 1
    _ml2021_say "Setting up .venv with $(command -v "$python"), once: 2 to 10 minutes, 6 GB (log: $venv.log)"
    "$python" -m venv "$venv" >&2 || _ml2021_fail "$python -m venv failed: fix that, or set ML2021_PYTHON" || exit 1
  fi
  "$venv/bin/python" "$root/local/install.py" "$stamp" ${extra:+"$extra"}
)

_ml2021_main() {
  local root k2 icefall
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  if [ -n "${ML2021_PYTHON:-}" ]; then
    _ml2021_python_fits "$ML2021_PYTHON" "" || _ml2021_fail "ML2021_PYTHON=$ML2021_PYTHON is not a Python of" \
      "3.10-3.13 that runs; unset it to use .venv" || return 1
    ml2021_python=$(command -v "$ML2021_PYTHON")
  else
    _ml2021_make_venv "$root" "${ML2021_EXTRAS:-}" || return 1
    ml2021_python=$root/.venv/bin/python
    export VIRTUAL_ENV=$root/.venv
  fi
  case ":$PATH:" in *":${ml2021_python%/*}:"*) ;; *) export PATH="${ml2021_python%/*}:$PATH" ;; esac
  case ":${PYTHONPATH:-}:" in *":$root:$root/egs:"*) ;; *) PYTHONPATH=$root:$root/egs${PYTHONPATH:+:$PYTHONPATH} ;; esac
  { read -r k2; read -r icefall; } < <("$ml2021_python" -c '
import sys; from importlib.util import find_spec; print(getattr(find_spec("k2"), "origin", ""), flush=True)
import yaml
print(yaml.safe_load(open(sys.argv[1], encoding="utf-8"))["icefall"]["root"])' "${ML2021_CONF:-}/asr.yaml" 2>/dev/null)
  [ -n "${ICEFALL_ROOT:-}" ] || [ -z "$icefall" ] || export ICEFALL_ROOT=$icefall
  if [ -d "${ICEFALL_ROOT:-}/egs/librispeech" ]; then
    icefall=$ICEFALL_ROOT
    case ":$PYTHONPATH:" in *":$icefall:"*) ;; *) PYTHONPATH+=:$icefall ;; esac
  elif [ -z "${ICEFALL_ROOT:-}" ]; then icefall="not found (optional; ICEFALL_ROOT is not set)"
  else icefall="not found (optional; ICEFALL_ROOT=$ICEFALL_ROOT has no egs/librispeech)"; fi
  [ -n "${ML2021_REPORTED:-}" ] || { _ml2021_say "k2: ${k2:-not found (optional)}"; _ml2021_say "icefall: $icefall"; }
  export PYTHONPATH ML2021_REPORTED=1
}

if _ml2021_main; then _ml2021_status=0; else _ml2021_status=1; fi
unset -f $(compgen -A function _ml2021_)
return $_ml2021_status
