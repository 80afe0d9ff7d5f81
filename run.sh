#!/usr/bin/env bash
# From untimed lectures to a recogniser, a translator and bilingual subtitles: see ./run.sh --help
set -euo pipefail

start_dir=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD
last_stage=12
stages="0 corpus, 1 manifests, 2 lang, 3 align, 4 windows, 5 asr-train, 6 asr-decode, 7 bitext, 8 mt-train"
stages+=", 9 mt-decode, 10 st, 11 export, 12 report"
stage=0 stop_stage=$last_stage corpus=mini conf='' data='' exp='' aligner_model='' trainer=''
rerun_options='' folders=() executor=() redo=() processes=() nodes=1 node_rank=0 server=''
halves=() cores=() job='' beside=() ran=''
training_stages=' 3 5 6 8 '

usage() {
  cat <<END
Usage: ./run.sh [OPTION VALUE]...

  --stage N          first stage to run, 0 to $last_stage [0]
  --stop-stage N     last stage to run [$last_stage]
  --corpus mini|PATH mini, a small corpus that stage 0 generates, or a folder or table of lectures
                     [mini]
  --conf DIR         folder of YAML files [conf/mini for mini, else conf/ml2021]
  --data DIR         folder for the data [data/CORPUS]
  --exp DIR          folder for models and results [exp/CORPUS]
  --aligner-model M  what stage 3 aligns with instead of training an aligner: the folder of a CTC
                     model (ours or Hugging Face's), or a recogniser's words with times (.ctm,
                     .jsonl); none: train one [M of the last run with this data folder, else none]
  --num-jobs N       run stages 0, 1, 3 and 4 in N processes [1; stage 3: as its training]
  --executor E       serial, processes or dask; the results are the same [processes if N > 1]
  --dask-scheduler A address of a Dask scheduler (tcp://HOST:PORT), or local [local]
  --num-gpus N       train on N GPUs of each machine (stages 3, 5 and 8, and 6's language model) [1]
  --num-processes N  train in N processes on the CPU instead, which share each batch, with all
                     stages in their turn [num_processes in CONF, at most one for each core]
  --nodes N          machines that train together. They share the disk. Start the same command on
                     each, with its number: machine 0 does everything, others only train with it [1]
  --node-rank N      number of this machine, from 0 [0]
  --master-addr HOST[:PORT]
                     address of machine 0 for the others [port 29500]
  --trainer ml2021|icefall
                     code that trains (stage 5) and decodes (stage 6) the recogniser; icefall is
                     the checkout in ICEFALL_ROOT [ml2021]
  --redo             where a training or other long work in these stages was done with other options
                     or data, move it to NAME.before-DATE and begin anew; without it, the run stops
                     there and says what differs
  --help             print this help

Stages: ${stages/, 6 /,$'\n'        6 }.
A stage is skipped if its outputs are up to date; a training goes on where it was stopped, also
with more epochs than before.
--a-b equals --a_b, and --a b equals --a=b. The first run makes .venv (see path.sh).
END
}

usage_error() {
  echo "run.sh: error: $*" >&2
  exit 2
}

# The line number and function in the message are those of the call in the main program.
log() {
  echo "$(date '+%Y-%m-%d %H:%M:%S') (run.sh:${BASH_LINENO[${#BASH_LINENO[@]} - 2]}:main) $*" >&2
}

# Paths on the command line are relative to the user's folder; the defaults are relative to the project.
from_start_dir() {
  if [[ $1 == /* || $start_dir == "$root" ]]; then echo "$1"; else echo "$start_dir/$1"; fi
}

check_count() { # option, value, least
  [[ $2 =~ ^[0-9]{1,6}$ ]] && ((10#$2 >= $3)) || usage_error "--$1 must be a whole number from $3 on, got '$2'"
}

check_stage() { # option, value
  [[ $2 =~ ^[0-9]{1,3}$ ]] && ((10#$2 <= last_stage)) ||
    usage_error "--$1 must be a stage from 0 to $last_stage, got '$2'. Stages: $stages"
}

parse_options() {
  local argument name value
  while (($#)); do
    argument=$1
    shift
    [[ $argument != -h && $argument != --help ]] || { usage && exit 0; }
    [[ $argument != --redo ]] || { redo=(--redo) rerun_options+=' --redo' && continue; }
    [[ $argument == --* ]] || usage_error "unexpected argument '$argument'; ./run.sh --help lists the options"
    name=${argument%%=*}
    name=${name#--}
    name=${name//_/-}
    case $name in
      stage | stop-stage | corpus | conf | data | exp | aligner-model | trainer) ;;
      num-jobs | executor | dask-scheduler | num-gpus | num-processes | nodes | node-rank | master-addr) ;;
      redo) usage_error "option --redo takes no value" ;;
      *) usage_error "unknown option --$name; options: --stage --stop-stage --corpus --conf --data --exp" \
        "--aligner-model --trainer --num-jobs --executor --dask-scheduler --num-gpus --num-processes --nodes" \
        "--node-rank --master-addr --redo --help" ;;
    esac
    if [[ $argument == *=* ]]; then
      value=${argument#*=}
    else
      value=${1:-}
      if [[ $value == --* ]]; then value=''; else shift $(($# > 0)); fi
    fi
    [[ -n $value ]] || usage_error "option --$name needs a value; ./run.sh --help explains it"
    case $name in
      stage) check_stage stage "$value" && stage=$((10#$value)) ;;
      stop-stage) check_stage stop-stage "$value" && stop_stage=$((10#$value)) ;;
      corpus) [[ $value == mini ]] && corpus=mini || corpus=$(from_start_dir "${value%/}") ;;
      conf) conf=$(from_start_dir "${value%/}") ;;
      data) data=$(from_start_dir "${value%/}") ;;
      exp) exp=$(from_start_dir "${value%/}") ;;
      trainer)
        [[ $value == ml2021 || $value == icefall ]] || usage_error "--trainer must be ml2021 or icefall, got '$value'"
        if [[ $value == icefall ]]; then trainer=icefall; else trainer=''; fi
        ;;
      aligner-model) [[ $value == none ]] && aligner_model=none || aligner_model=$(from_start_dir "${value%/}") ;;
      num-jobs | executor | dask-scheduler) executor+=("--$name" "$value") ;;
      num-gpus | num-processes) check_count "$name" "$value" 1 && processes+=("--$name" "$value") ;;
      nodes) check_count nodes "$value" 1 && nodes=$((10#$value)) processes+=(--nodes "$value") ;;
      node-rank) check_count node-rank "$value" 0 && node_rank=$((10#$value)) processes+=(--node-rank "$value") ;;
      master-addr) processes+=(--master-addr "$value") ;;
    esac
    [[ $name == *stage ]] || rerun_options+=" --$name $(printf %q "$value")"
  done
  ((stage <= stop_stage)) || usage_error "--stage $stage is after --stop-stage $stop_stage"
}

set_defaults() {
  local name
  name=$(basename "$corpus" .parquet)
  [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || [[ -n $data && -n $exp ]] ||
    usage_error "--corpus $corpus has no plain name for the folders; name them with --data and --exp"
  [[ $corpus == mini ]] && conf=${conf:-conf/mini}
  conf=${conf:-conf/ml2021} data=${data:-data/$name} exp=${exp:-exp/$name}
  folders=(--conf "$conf" --data "$data" --exp "$exp")
  [[ -d $conf ]] || usage_error "no folder $conf; --conf must be a folder with the YAML files, such as conf/mini"
}

run_stage() { # number, name, executable, further options
  local number=$1 name=$2 code=0
  shift 2
  ((stage <= number && number <= stop_stage)) || return 0
  [[ ${RANK:-0} == 0 || $training_stages == *" $number "* ]] || return 0
  log "Stage $number: $name"
  "${cores[@]}" "$ml2021_python" "$@" "${folders[@]}" "${redo[@]}" || code=$?
  ((code)) || return 0
  if ((code == 130)); then
    log "Interrupted in stage $number ($name). Continue with: ./run.sh$rerun_options --stage $number"
  else
    log "Stage $number ($name) failed; see the error above. Continue with: ./run.sh$rerun_options --stage $number"
  fi
  exit "$code"
}

# Other machines than machine 0 only take part in its trainings; machine 0 tells them which, until it has finished.
join_machines() {
  ((${#processes[@]} == 0)) || "$ml2021_python" -m ml2021.training.launch check "${processes[@]}" || exit
  if ((node_rank)); then
    log "Machine $node_rank takes part in the trainings of stages 3, 5, 6 and 8; machine 0 does everything else"
    "$ml2021_python" -m ml2021.training.launch follow "${processes[@]}" || exit
    exit 0
  elif ((nodes > 1)); then
    "$ml2021_python" -m ml2021.training.launch serve "${processes[@]}" &
    server=$!
    export ML2021_SERVED=1
  fi
}

translator_stages() {
  run_stage 7 bitext local/make_bitext.py
  run_stage 8 mt-train local/mt_train.py "${processes[@]}"
  run_stage 9 mt-decode local/mt_decode.py
}

export_stage() {
  run_stage 11 export local/export.py
}

# The stages of the translator need nothing of stages 5 and 6, and stage 11 nothing of stage 10. Without a GPU, and if CONF
# says so (beside_recogniser), they run beside those, on half of the cores each. What fails of them there is tried again
# in its turn.
find_halves() {
  local first second
  ((stage <= 5 && stop_stage >= 8 && ${#processes[@]} == 0)) && [[ -z ${RANK:-}$trainer ]] || return 0
  [[ ! -e $exp/asr/.done && ! -e $exp/mt/.done ]] || return 0
  read -r first second < <("$ml2021_python" -m ml2021.training.launch halves --conf "$conf") || return 0
  { [[ -n $second ]] && taskset -c "$first" true && taskset -c "$second" true; } 2>/dev/null || return 0
  halves=("$first" "$second")
}

begin_beside() { # function, what it runs, beside what, the name of its log
  ((${#halves[@]})) || return 0
  mkdir -p "$exp"
  beside=("$@")
  log "$2 beside $3 (log: $exp/$4.log)"
  { cores=(taskset -c "${halves[1]}") && ML2021_BESIDE=$$ "$1"; } >"$exp/$4.log" 2>&1 &
  job=$! cores=(taskset -c "${halves[0]}")
}

end_beside() { # "now", or nothing: wait for it
  [[ -n $job ]] || return 0
  local what=${beside[1]} others=${beside[2]} output=$exp/${beside[3]}.log
  if kill -0 "$job" 2>/dev/null; then
    [[ -z ${1:-} ]] || return 0
    log "Waiting for ${what,} (log: $output)"
  fi
  if wait "$job"; then
    grep ' WARNING ' "$output" >&2 || true
    log "$what finished beside $others"
    ran+=" ${beside[0]} "
  else
    log "$what failed beside $others, see $output; what failed is tried again in its turn"
  fi
  job='' cores=()
}

in_turn() { # function that may have run beside others
  [[ $ran == *" $1 "* ]] || "$1"
}

parse_options "$@"
set_defaults
export ML2021_CONF=$conf
. ./path.sh || exit 1
trap 'exit 130' INT
trap '{ kill $(jobs -pr) && wait; } 2>/dev/null || true' EXIT # server and what runs beside others
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000} # idle OpenMP threads soon free their core, which others may need
join_machines

run_stage 0 corpus local/make_corpus.py --corpus "$corpus" "${executor[@]}"
run_stage 1 manifests local/make_manifests.py "${executor[@]}"
run_stage 2 lang local/make_lang.py
run_stage 3 align local/align.py ${aligner_model:+--aligner-model "$aligner_model"} "${executor[@]}" "${processes[@]}"
run_stage 4 windows local/make_windows.py "${executor[@]}"
find_halves
begin_beside translator_stages "Stages 7 to $((stop_stage == 8 ? 8 : 9))" "stages 5 and 6" translator
run_stage 5 asr-train local/asr_train.py ${trainer:+--trainer "$trainer"} "${processes[@]}"
end_beside now
run_stage 6 asr-decode local/asr_decode.py ${trainer:+--trainer "$trainer"} "${processes[@]}"
end_beside
in_turn translator_stages
((stop_stage < 11)) || begin_beside export_stage "Stage 11" "stage 10" export
run_stage 10 st local/st.py
end_beside
in_turn export_stage
run_stage 12 report local/make_report.py

[[ -z $server ]] || { kill -USR1 "$server" && wait "$server"; } || true
log "Done: stages $stage to $stop_stage in $SECONDS s; data in $data, results in $exp"
