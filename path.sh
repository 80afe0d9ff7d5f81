# Sourced by run.sh, by tests/run.sh and by your own bash:   . ./path.sh
#
# Makes .venv on first use, puts it first on PATH, sets PYTHONPATH, looks for k2 and icefall. Sets ml2021_python to
# the interpreter to run things with. Where set-up fails it prints an error and returns 1; it never exits your shell.
#
# Reads:  ML2021_PYTHON  use this interpreter, which has everything installed already; make no .venv
#         ML2021_EXTRAS  name of optional dependencies of pyproject.toml to install too (tests/run.sh says "test")
#         ICEFALL_ROOT   an icefall checkout (optional), by default the one that asr.yaml in ML2021_CONF names:
#         ML2021_CONF    the folder of YAML files; run.sh sets it
#
# .venv/.complete is written last and holds the folder and a checksum of the requirements: a .venv without it is
# half-made, and is made again. .venv/.changing is there only while pip changes a complete .venv.

if [ -z "${BASH_VERSION:-}" ]; then
  echo "path.sh: error: source it from bash (this is another shell)" >&2
  return 1
fi

_ml2021_root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
_ml2021_venv=$_ml2021_root/.venv
_ml2021_log=$_ml2021_root/.venv.log
_ml2021_free_gb_needed=8

_ml2021_say() { printf '%s (path.sh) %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$*" >&2; }
_ml2021_error() { printf 'path.sh: error: %s\n' "$*" >&2; return 1; }

# Is $1 an interpreter that runs, of a version that torch has wheels for? (A pyenv shim can be there and not run.)
_ml2021_right_version() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

# Prints the first interpreter on PATH that can make the environment.
_ml2021_find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
    if _ml2021_right_version "$candidate" && "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
      command -v "$candidate"
      return 0
    fi
  done
  _ml2021_error "no Python of 3.10-3.13 with venv and pip on PATH (python3 is:" \
    "$(python3 --version 2>&1 | head -n 1)). Install one (Debian, Ubuntu: apt install python3-venv), or name one" \
    "that has everything installed: export ML2021_PYTHON=/path/to/python"
}

# What a complete .venv's stamp holds: .venv cannot be moved, so the folder belongs to it.
_ml2021_stamp() {
  printf '%s %s' "$_ml2021_root" "$(cat "$_ml2021_root/pyproject.toml" "$_ml2021_root/constraints.txt" | cksum)"
}

# Is .venv complete, with the extras $1 (may be empty)?
_ml2021_complete() {
  [ -x "$_ml2021_venv/bin/python" ] && [ ! -e "$_ml2021_venv/.changing" ] &&
    [ "$(cat "$_ml2021_venv/.complete${1:+-$1}" 2>/dev/null)" = "$(_ml2021_stamp)" ] &&
    [ "$(cat "$_ml2021_venv/.complete" 2>/dev/null)" = "$(_ml2021_stamp)" ]
}

# Is there a .venv that pip can bring up to date (complete once, in this folder)?
_ml2021_updatable() {
  [ -x "$_ml2021_venv/bin/python" ] && [ ! -e "$_ml2021_venv/.changing" ] &&
    [ "$(sed 's/ [0-9]* [0-9]*$//' "$_ml2021_venv/.complete" 2>/dev/null)" = "$_ml2021_root" ]
}

# Prints pyproject.toml's requirements, with those of the extras $1, one a line.
_ml2021_requirements() {
  "$_ml2021_venv/bin/python" - "$_ml2021_root/pyproject.toml" "$1" <<'PYTHON'
import sys
try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib
with open(sys.argv[1], "rb") as f:
    project = tomllib.load(f)["project"]
extras = project["optional-dependencies"][sys.argv[2]] if sys.argv[2] else []
print("\n".join(project["dependencies"] + extras))
PYTHON
}

# Copies pip's output to the log; on a terminal shows its latest line.
_ml2021_progress() {
  local line
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$_ml2021_log"
    [ ! -t 2 ] || printf '\r\033[K  %.100s' "$line" >&2
  done
  [ ! -t 2 ] || printf '\r\033[K' >&2
}

# Says why pip failed, from its log.
_ml2021_pip_failed() {
  local remedy="read $_ml2021_log, then run the same command again"
  if grep -qi 'no space left' "$_ml2021_log"; then
    remedy="the disk of $_ml2021_root or of ${TMPDIR:-/tmp} is full: free $_ml2021_free_gb_needed GB, or set TMPDIR"
  elif grep -qiE 'connection|timed out|name resolution|network is unreachable|proxy' "$_ml2021_log"; then
    remedy="the package registry was not reached: check the network (or PIP_INDEX_URL, HTTPS_PROXY), then run again"
  fi
  grep -v '^ *$' "$_ml2021_log" | tail -n 3 | cut -c 1-300 | sed 's/^/  pip: /' >&2
  _ml2021_error "pip could not install the requirements: $remedy"
}

# Installs the requirements and extras $1 into .venv, which is there.
_ml2021_install() {
  local requirements="$_ml2021_venv/.requirements.txt"
  : >|"$_ml2021_log"
  _ml2021_requirements "$1" >|"$requirements" || { _ml2021_error "cannot read pyproject.toml"; return 1; }
  "$_ml2021_venv/bin/python" -m pip install --disable-pip-version-check -c "$_ml2021_root/constraints.txt" \
    -r "$requirements" 2>&1 | _ml2021_progress
  if [ "${PIPESTATUS[0]}" -ne 0 ]; then
    # pip gave up before it changed anything: what was complete still is.
    grep -q '^Installing collected packages' "$_ml2021_log" || rm -f "$_ml2021_venv/.changing"
    _ml2021_pip_failed
    return 1
  fi
  if [ -n "$1" ]; then _ml2021_stamp >|"$_ml2021_venv/.complete-$1"; fi
  rm -f "$_ml2021_venv/.changing"
  _ml2021_stamp >|"$_ml2021_venv/.complete"
}

# Makes .venv or brings it up to date, with the extras $1; the caller holds the lock.
_ml2021_set_up() {
  local python free_kb
  unset PYTHONPATH PYTHONHOME # packages found there must not pass for installed ones
  _ml2021_complete "$1" && return 0
  if _ml2021_updatable; then
    _ml2021_say "Installing what .venv lacks${1:+ for $1} (log: $_ml2021_log)"
    : >|"$_ml2021_venv/.changing"
    _ml2021_install "$1"
    return
  fi
  python=$(_ml2021_find_python) || return 1
  [ ! -e "$_ml2021_venv" ] || _ml2021_say "Removing the .venv that is half-made or was moved"
  rm -rf "$_ml2021_venv"
  free_kb=$(df -Pk "$_ml2021_root" | awk 'NR == 2 {print $4}')
  if [ "$free_kb" -lt $((_ml2021_free_gb_needed * 1024 * 1024)) ]; then
    _ml2021_error "$((free_kb / 1024 / 1024)) GB free on the disk of $_ml2021_root, .venv needs" \
      "$_ml2021_free_gb_needed GB to be made: free some, or put the project on a larger disk"
    return 1
  fi
  _ml2021_say "Setting up .venv with $python, once: 2 to 10 minutes, 6 GB (log: $_ml2021_log)"
  if ! "$python" -m venv "$_ml2021_venv" >|"$_ml2021_log" 2>&1; then
    tail -n 3 "$_ml2021_log" | sed 's/^/  venv: /' >&2
    _ml2021_error "$python -m venv .venv failed: put that right, or set ML2021_PYTHON to an interpreter to use"
    return 1
  fi
  _ml2021_install "$1" && _ml2021_say "Set-up complete"
}

# Sets ml2021_python: the interpreter that ML2021_PYTHON names, or .venv's, made where it is not complete.
_ml2021_choose_python() {
  if [ -n "${ML2021_PYTHON:-}" ]; then
    if ! _ml2021_right_version "$ML2021_PYTHON"; then
      _ml2021_error "ML2021_PYTHON=$ML2021_PYTHON is not a Python of 3.10-3.13 that runs; unset it to have .venv made"
      return 1
    fi
    ml2021_python=$(command -v "$ML2021_PYTHON")
    return 0
  fi
  ml2021_python=$_ml2021_venv/bin/python
  _ml2021_complete "${ML2021_EXTRAS:-}" && return 0
  # Two starts at once must not build over each other: the second waits, then finds the work done.
  (
    if command -v flock >/dev/null && ! flock -n 9; then
      _ml2021_say "Waiting for another start that is setting up .venv"
      flock 9
    fi
    _ml2021_set_up "${ML2021_EXTRAS:-}"
  ) 9>|"$_ml2021_venv.lock"
}

# Puts $2 into the colon-separated variable $1: at its front, or with $3 = last at its end; once.
_ml2021_put() {
  local old=${!1:-}
  case ":$old:" in
    *":$2:"*) ;;
    *) if [ "${3:-}" = last ]; then export "$1=${old:+$old:}$2"; else export "$1=$2${old:+:$old}"; fi ;;
  esac
}

# Sets ICEFALL_ROOT to icefall.root of asr.yaml in the folder $1, if there is one.
_ml2021_icefall_of_conf() {
  local root
  root=$("$ml2021_python" -c '
import sys, yaml
content = yaml.safe_load(open(sys.argv[1], encoding="utf-8"))
print(content["icefall"]["root"])' "$1/asr.yaml" 2>/dev/null) || return 0 # a stage says what is wrong with the file
  [ -z "$root" ] || export ICEFALL_ROOT=$root
}

# One line each on k2 and icefall, once a session.
_ml2021_report() {
  [ -z "${ML2021_REPORTED:-}" ] || return 0
  export ML2021_REPORTED=1
  local k2
  k2=$("$ml2021_python" -c 'import importlib.util as u; s = u.find_spec("k2"); print(s.origin if s else "")')
  _ml2021_say "k2: ${k2:-not found (optional)}"
  if [ -z "${ICEFALL_ROOT:-}" ]; then
    _ml2021_say "icefall: not found (optional; ICEFALL_ROOT is not set)"
  elif [ -d "$ICEFALL_ROOT/egs/librispeech" ]; then
    _ml2021_say "icefall: $ICEFALL_ROOT"
  else
    _ml2021_say "icefall: not found (optional; ICEFALL_ROOT=$ICEFALL_ROOT has no egs/librispeech)"
  fi
}

_ml2021_main() {
  _ml2021_choose_python || return 1
  if [ -z "${ML2021_PYTHON:-}" ]; then
    export VIRTUAL_ENV=$_ml2021_venv
  fi
  _ml2021_put PATH "$(dirname "$ml2021_python")"
  _ml2021_put PYTHONPATH "$_ml2021_root/egs"
  _ml2021_put PYTHONPATH "$_ml2021_root"
  if [ -z "${ICEFALL_ROOT:-}" ] && [ -f "${ML2021_CONF:-}/asr.yaml" ]; then
    _ml2021_icefall_of_conf "$ML2021_CONF"
  fi
  if [ -d "${ICEFALL_ROOT:-}/egs/librispeech" ]; then
    _ml2021_put PYTHONPATH "$ICEFALL_ROOT" last
  fi
  _ml2021_report
}

if _ml2021_main; then _ml2021_status=0; else _ml2021_status=1; fi
for _ml2021_name in $(compgen -A function _ml2021_); do unset -f "$_ml2021_name"; done
unset _ml2021_name _ml2021_root _ml2021_venv _ml2021_log _ml2021_free_gb_needed
return $_ml2021_status
