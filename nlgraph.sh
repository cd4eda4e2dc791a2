#!/usr/bin/env bash
# The main job: searches for a system of experts that reasons about graphs. In the active environment (venv, conda) if that
# has what is needed, else in .venv, which is made first if there is none.
#
#   bash nlgraph.sh                     one search
#   bash nlgraph.sh --trials 5          five, with seeds 0 to 4
#   bash nlgraph.sh --optimizer swarm   the paper's search, with the settings of its starter script
#   bash nlgraph.sh --sweep             endless: that one, with settings drawn at random (--sweep --trials 20: twenty times)
#   bash nlgraph.sh --embedded          on the toy experts that come with the repository, whatever else is there
#   bash nlgraph.sh --seed 7 ...        anything else goes to search.py (python search.py --help lists it); with an option
#                                       that only the swarm has, such as -m 3, the search is the swarm's
#
# Experts: those in initial_experts/ if there are any, else the embedded ones; or -i FOLDER.
# Questions: data/eval/nlgraph.json if it is there, else a set of that kind which is made here; or -d NAME.
# Every run gets a name of its own under search/. Exit codes are search.py's.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

published=initial_experts embedded=data/embedded/experts

say() { printf 'nlgraph: %s\n' "$*"; }
die() { printf 'nlgraph: %s\n' "$*" >&2; exit 2; }
usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"; }

wanted_number() { [[ ${2:-} =~ ^(0|[1-9][0-9]*)$ ]] || die "$1 is '${2:-}', wanted a whole number"; }

# Sets trials (0: endless), sweep, use_embedded, seed, and rest: what search.py gets.
parse() {
    trials="" sweep=no use_embedded=no seed=0 rest=()
    while (($#)); do
        case $1 in
            -h | --help) usage; exit 0 ;;
            --sweep) sweep=yes ;;
            --embedded) use_embedded=yes ;;
            --trials | --seed) wanted_number "$1" "${2:-}"; printf -v "${1#--}" %s "$2"; shift ;;
            --trials=* | --seed=*) set -- "${1%%=*}" "${1#*=}" "${@:2}"; continue ;;
            *) rest+=("$1") ;;
        esac
        shift
    done
    [[ $trials != 0 ]] || die "--trials is 0, wanted at least 1"
    [[ -n $trials ]] || if [[ $sweep == yes ]]; then trials=0; else trials=1; fi
}

# Whether one of the options $1 (separated by |) is among what search.py gets: -x v, -xv, --long v, --long=v.
is_given() {
    local word
    for word in ${rest[@]+"${rest[@]}"}; do
        [[ $word =~ ^($1)(=|$) || ( $word =~ ^-[a-z] && ${word:0:2} =~ ^($1)$ ) ]] && return 0
    done
    return 1
}

swarm_only="graph_num|trial_num|inertia|cognitive_coeff|social_coeff|repel_coeff|repel_term|weight_randomness|step_length"
swarm_only+="|weight_step_length|step_length_factor|minimum_step_length|starting_velocity_mode|restart_stray_particles"
swarm_only+="|restart_patience|patience|patience_on|max_iteration|dropK|dropN|move_graphs|move_experts|top_p|edges"
swarm_only+="|clamp_adjacency|end_rule|credit_graph|assignment_spread|populate_initial_experts|initial_experts_num"
swarm_only+="|refresh_routers|ask_ahead|compat"

# Whether the search is the paper's swarm: it is swept, named, or given an option that nothing else has.
is_swarm() {
    local word named=""
    [[ $sweep == no ]] || return 0
    for word in ${rest[@]+"${rest[@]}"}; do
        if [[ $named == next ]]; then named=$word; continue; fi
        case $word in
            --optimi[sz]er) named=next ;;
            --optimi[sz]er=*) named=${word#*=} ;;
        esac
    done
    [[ -z $named ]] || { [[ $named == swarm ]]; return; }
    for word in ${rest[@]+"${rest[@]}"}; do
        [[ ${word//-/_} =~ ^__($swarm_only)(=|$) || ( $word =~ ^-[a-z] && ${word:0:2} =~ ^-[mp]$ ) ]] && return 0
    done
    return 1
}

has_adapters() { compgen -G "$1/*/adapter_config.json" >/dev/null; }

# Sets python. H_SWARM_TORCH and PYTHON say what .venv is to be made with, so that whoever sets one wants that.
choose_python() {
    local active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}} lacks
    python=.venv/bin/python
    if [[ -n $active && -z ${H_SWARM_TORCH:-}${PYTHON:-} && ! $active -ef .venv ]]; then
        if lacks=$("$active/bin/python" scripts/active_environment.py report 2>/dev/null); then
            python=$active/bin/python
            say "environment: $active, which is active and has what is needed"
            return
        fi
        say "environment: .venv, since the active one, $active, lacks ${lacks:-a Python that works}"
    fi
    bash scripts/environment.sh report
}

# Sets experts (empty: the user's -i) and kind: whether the questions are for large models or for the embedded ones.
choose_experts() {
    kind=large experts=""
    if is_given '-i|--initial_expert_directory|--initial-expert-directory'; then
        [[ $use_embedded == no ]] || die "--embedded and -i name two places for the experts, wanted one"
    elif [[ $use_embedded == no ]] && has_adapters "$published"; then
        experts=$published
        say "experts: those in $published/. For the small ones that come with the repository: bash nlgraph.sh --embedded"
    else
        experts=$embedded kind=small
        say "experts: $embedded/, small models that know graph tasks only. For the ten published Gemma-7B experts:"
        say "    $python initial_experts/initial_experts.py, then this command again; for your own: -i FOLDER"
    fi
}

# Sets dataset (empty: the user's -d).
choose_dataset() {
    dataset=""
    is_given '-d|--dataset' && return
    if [[ $kind == small ]]; then
        dataset=graph_tasks_small
    elif [[ -f data/eval/nlgraph.json ]]; then
        dataset=nlgraph
    else
        dataset=graph_tasks
        say "data/eval/nlgraph.json is not there: the questions are of that kind, but our own"
        [[ -f data/eval/graph_tasks.json ]] \
            || "$python" scripts/make_graph_data.py --style large --out data/eval/graph_tasks.json
    fi
    say "questions: data/eval/$dataset.json"
}

pick() { local values=("$@"); printf '%s' "${values[RANDOM % $#]}"; }

# Sets settings: of the swarm those of the published starter script, and either one choice of the rest or a random one
# from its ranges; of other optimizers none.
choose_settings() {
    settings=()
    is_swarm || return 0
    local inertia=0.2 cognitive=0.3 social=0.4 repel=0.05 step=0.7 iterations=20
    settings=(--patience 6 --weight_randomness 1 --starting_velocity_mode random --repel_term 1
        --restart_stray_particles 1 --restart_patience 0.67 --step_length_factor 0.95)
    if [[ $kind == small ]]; then
        inertia=0.3 social=0.3 step=0.3 iterations=10
        settings+=(--graph_num 8 --trial_num 8)
    fi
    if [[ $sweep == yes ]]; then
        inertia=$(pick 0.1 0.2 0.3) cognitive=$(pick 0.1 0.2 0.3 0.4 0.5) social=$(pick 0.2 0.3 0.4 0.5 0.6)
        repel=$(pick 0.01 0.05 0.1) step=$(pick 0.5 0.6 0.7 0.8 0.9 1.0)
    fi
    settings+=(--max_iteration "$iterations" --inertia "$inertia" --cognitive_coeff "$cognitive"
        --social_coeff "$social" --repel_coeff "$repel" --step_length "$step")
}

# One search; its exit code. 3 (a limit ended it, with a result) does not end a sweep, anything else but 0 does.
search() {
    local command=("$python" search.py -e exact_match)
    [[ -z $dataset ]] || command+=(-d "$dataset")
    [[ -z $experts ]] || command+=(-i "$experts")
    command+=(${settings[@]+"${settings[@]}"} --seed "$1" ${rest[@]+"${rest[@]}"})
    say "$(printf '%q ' "${command[@]}")"
    if [[ $trials == 1 ]]; then exec "${command[@]}"; fi  # so that signals meant for this program reach the search
    "${command[@]}"
}

main() {
    local trial code=0
    parse "$@"
    if [[ $trials != 1 ]] && is_given '-n|--name'; then die "-n names one run; with several, each gets a fresh name"; fi
    choose_python
    choose_experts
    choose_dataset
    for ((trial = 1; trials == 0 || trial <= trials; trial++)); do
        if ((trials == 0)); then say "trial $trial (Ctrl-C ends the sweep)"
        elif ((trials > 1)); then say "trial $trial of $trials"; fi
        choose_settings
        code=0
        search $((seed + trial - 1)) || code=$?
        [[ $code == 0 || $code == 3 ]] || exit "$code"
    done
    exit "$code"
}

main "$@"
