#!/usr/bin/env bash
# Makes .venv, or brings it up to date, with this project and the extras asked for, at the versions in constraints.txt.
#
#   bash scripts/environment.sh [extra ...]        extras: see pyproject.toml
#
# Says nothing and takes milliseconds when there is nothing to do. Safe to interrupt, to repeat, to start twice at once.
#   PYTHON           the Python that a new .venv is made with (default: python3)
#   H_SWARM_TORCH    which PyTorch to install, instead of looking for an NVIDIA device: cpu, ordinary (PyPI's), or cu126
#                    or another CUDA version, for a driver or a card that the ordinary one is too new for. Takes effect
#                    in a .venv that has another build, and is remembered there. A machine that prepares the environment
#                    for another needs it, too (a login node without a GPU: ordinary)
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/.h_swarm_environment  # written last: line 1 what was installed from, then extras, PyTorch's build
log=$venv/install.log
torch_index=https://download.pytorch.org/whl
constraints=$root/constraints.txt

say() { printf 'environment: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# What an installed environment depends on. The folder is part of it because a virtual environment cannot be moved.
digest() {
    { printf '%s\n' "$root"; cat "$root/pyproject.toml" "$root/constraints.txt" "$root/swarm/__init__.py"; } | cksum
}

up_to_date() {
    local extra
    [[ -x $venv/bin/python && -f $stamp ]] || return 1
    [[ $(head -n 1 "$stamp") == "$(digest)" ]] || return 1
    for extra in "$@"; do grep -qx "extra $extra" "$stamp" || return 1; done
    [[ -z ${H_SWARM_TORCH:-} ]] || has_build "$H_SWARM_TORCH"
}

# The version of the PyTorch in .venv with its build, such as 2.13.0+cu126; nothing if there is none.
installed_torch() {
    local info
    for info in "$venv"/lib/python*/site-packages/torch-[0-9]*.dist-info; do
        [[ ! -d $info ]] || basename -- "$info" .dist-info | sed 's/^torch-//'
    done | head -n 1
}

# Whether .venv has the build $1 of PyTorch, or has got what there was in its stead when it was asked for.
has_build() {
    local version
    if grep -qsx "torch $1" "$stamp" || [[ $(uname -s) != Linux ]]; then return; fi  # elsewhere there is one build
    version=$(installed_torch)
    case $1 in
        ordinary) [[ -n $version && $version != *+* ]] ;;  # PyPI takes no names of builds
        *) [[ $version == *+"$1" ]] ;;
    esac
}

check_request() {
    local extra
    [[ ${H_SWARM_TORCH:-cpu} =~ ^(cpu|ordinary|cu[0-9]{3})$ ]] \
        || die "H_SWARM_TORCH is '$H_SWARM_TORCH', wanted cpu, ordinary or a CUDA version such as cu126"
    [[ ${H_SWARM_TORCH:-cpu} != cu* || $(uname -s) == Linux ]] \
        || die "H_SWARM_TORCH is '$H_SWARM_TORCH', and PyTorch has no builds for CUDA for $(uname -s): leave it out"
    for extra in "$@"; do
        if ! [[ $extra =~ ^[a-z]+$ ]] || ! grep -q "^$extra = \[" "$root/pyproject.toml"; then
            die "'$extra' is no extra of pyproject.toml; usage: bash scripts/environment.sh [extra ...]"
        fi
    done
}

# Two front doors started together must not install over each other. Held until this script ends.
take_lock() {
    mkdir -p "$venv"
    command -v flock >/dev/null || return 0
    exec 9>"$venv/.lock"
    flock --nonblock 9 && return 0
    say "another process is installing into .venv: waiting for it"
    flock 9
}

# The programs of a .venv that was copied here from another folder would start that folder's Python.
belongs_here() {
    local home line="s/^ *\(export \)\{0,1\}VIRTUAL_ENV=[\"']\{0,1\}\(\/[^\"']*\)[\"']\{0,1\}\$/\2/p"
    home=$(sed -n "$line" "$venv/bin/activate" | head -n 1)
    [[ -z $home || $home -ef $venv ]]
}

# A virtual environment that works is kept, also one that somebody made by hand.
works() {
    [[ -f $venv/bin/activate ]] && belongs_here || return 1
    "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 || return 1
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null 2>&1
}

make_venv() {
    local python=${PYTHON:-python3}
    works && return
    command -v "$python" >/dev/null || die "no $python found: install Python 3.10 or newer, or set PYTHON to one"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
        || die "$python is $("$python" -V 2>&1): Python 3.10 or newer is needed, set PYTHON to one"
    say "making .venv with $("$python" -V 2>&1)"
    find "$venv" -mindepth 1 -maxdepth 1 ! -name .lock -exec rm -rf {} +
    "$python" -m venv "$venv" || die "$python -m venv failed (on Debian and Ubuntu: apt install python3-venv)"
}

# pip writes a package's RECORD last. One without it was being written when the installation was cut off; pip would take
# it for installed and could not remove it either, so its metadata goes and pip writes the package again.
drop_half_installed() {
    local info
    for info in "$venv"/lib/python*/site-packages/*.dist-info; do
        if [[ -d $info && ! -s $info/RECORD ]]; then
            say "repairing $(basename -- "$info" .dist-info), whose installation was cut off"
            rm -rf -- "$info"
        fi
    done
    rm -rf -- "$venv"/lib/python*/site-packages/~*  # where pip keeps a package while it replaces it
}

# Quiet, but all that pip says is kept: when it fails, its warnings name the cause.
pip_install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >"$log" 2>&1
}

show_failure() {
    tail -n 25 -- "$log" >&2
    die "pip could not install $1 (all it said is in $log). The same command goes on; rm -rf .venv starts over"
}

has_torch() {
    "$venv/bin/python" - "$1" <<'PY'
import sys
from importlib.metadata import PackageNotFoundError, version
try:
    sys.exit(version("torch").partition("+")[0] != sys.argv[1])
except PackageNotFoundError:
    sys.exit(1)
PY
}

has_nvidia_device() { [[ -e /dev/nvidia0 || $(nvidia-smi -L 2>/dev/null) == GPU* ]]; }

can_reach_cpu_index() {
    "$venv/bin/python" - "$torch_index/cpu/torch/" <<'PY' >/dev/null 2>&1
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="HEAD"), timeout=5).close()
PY
}

# Sets build and why: PyPI's package for Linux brings several GB of CUDA libraries, which nothing here could use.
choose_torch() {
    build=ordinary
    if [[ $(uname -s) != Linux ]]; then
        why="the only one for $(uname -s)"
    elif [[ -n $wanted ]]; then
        build=$wanted why="as H_SWARM_TORCH says"
    elif has_nvidia_device; then
        why="an NVIDIA device was found"
    elif can_reach_cpu_index; then
        build=cpu why="no NVIDIA device was found"
    else
        why="no NVIDIA device was found, but $torch_index cannot be reached"
    fi
}

install_torch() {
    local pin build why replaced=()
    pin=$(grep -m 1 '^torch==' "$root/constraints.txt")
    if has_torch "${pin#torch==}" && { [[ -z $wanted ]] || has_build "$wanted"; }; then return; fi
    choose_torch
    # for pip another build of the same version is as good
    if [[ -n $(installed_torch) ]] && ! has_build "$build"; then replaced=(--force-reinstall); fi
    if [[ $build == cu* ]]; then install_cuda_build; return; fi
    if [[ $build == cpu ]]; then
        say "installing $pin, PyTorch's CPU build from $torch_index/cpu ($why)"
        # --no-deps: that index carries other packages too, at versions that are not ours
        pip_install --no-deps ${replaced[@]+"${replaced[@]}"} --index-url "$torch_index/cpu" "$pin" && return
        say "that did not work ($(tail -n 1 -- "$log")): taking the ordinary package"
    else
        say "installing $pin, the ordinary package ($why)"
    fi
    if ((${#replaced[@]})); then
        pip_install --no-deps "${replaced[@]}" --constraint "$constraints" "$pin" || show_failure "$pin"
    fi
    pip_install --constraint "$constraints" "$pin" || show_failure "$pin"
}

# PyTorch's build for a CUDA version: of our version of it, or of the newest that there is for that CUDA.
install_cuda_build() {
    local index=$torch_index/$build oldest
    say "installing $pin+$build, PyTorch's build for CUDA from $index ($why)"
    if ! pip_install --no-deps ${replaced[@]+"${replaced[@]}"} --index-url "$index" "$pin+$build"; then
        oldest=$(grep -m 1 -o 'torch>=[0-9.]*' "$root/pyproject.toml")
        say "that did not work ($(tail -n 1 -- "$log")): taking the newest there"
        pip_install --no-deps --upgrade ${replaced[@]+"${replaced[@]}"} --index-url "$index" "$oldest" \
            || show_failure "$oldest"
    fi
    suit_constraints
    pip_install --constraint "$constraints" --extra-index-url "$index" "torch==$(installed_torch)" \
        || show_failure "what torch $(installed_torch) needs"
}

# Sets constraints: a build for another CUDA version is kept, and brings NVIDIA's libraries at versions of its own.
suit_constraints() {
    local version
    version=$(installed_torch)
    [[ $version == *+cu* ]] || return 0
    constraints=$venv/constraints.txt
    {
        printf 'torch==%s\n' "$version"
        grep -Ev '^(torch|triton|cuda-[a-z]*|nvidia-[a-z0-9-]*)==' "$root/constraints.txt"
    } >"$constraints"
}

install_project() {
    local extra list="" target=$root
    for extra in "$@"; do list=$list,$extra; done
    [[ -z $list ]] || target="${root}[${list#,}]"
    say "installing h-swarm${target#"$root"} with what it needs, at the versions in constraints.txt (a minute or two)"
    suit_constraints
    pip_install --constraint "$constraints" --editable "$target" || show_failure h-swarm
    {
        digest
        for extra in "$@"; do printf 'extra %s\n' "$extra"; done
        [[ -z $wanted ]] || printf 'torch %s\n' "$wanted"
    } >"$stamp.new"
    mv -f -- "$stamp.new" "$stamp"
    say "ready: $venv"
}

main() {
    local extra
    check_request "$@"
    up_to_date "$@" && return
    take_lock
    up_to_date "$@" && return  # the process that we waited for may have done it
    # what was asked for before stays: nlgraph.sh must not leave the tests without their tools
    while read -r extra; do
        [[ " $* " == *" $extra "* ]] || set -- "$@" "$extra"
    done < <(sed -n 's/^extra //p' "$stamp" 2>/dev/null)
    wanted=${H_SWARM_TORCH:-$(sed -n 's/^torch //p' "$stamp" 2>/dev/null || true)}
    make_venv
    rm -f -- "$stamp"
    drop_half_installed
    install_torch
    install_project "$@"
}

main "$@"
