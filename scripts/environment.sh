#!/usr/bin/env bash
# Makes .venv, or brings it up to date, with this project and the extras asked for, at the versions in constraints.txt.
#
#   bash scripts/environment.sh [extra ...]        extras: see pyproject.toml
#
# Says nothing and takes milliseconds when there is nothing to do. Safe to interrupt, to repeat, to start twice at once.
#   PYTHON           the Python that a new .venv is made with (default: python3)
#   H_SWARM_TORCH    cpu or ordinary: which PyTorch to install, instead of looking for an NVIDIA device; for a machine
#                    that prepares the environment for another (a login node without a GPU: ordinary)
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/.h_swarm_environment  # written last: line 1 what was installed from, then one line per extra
log=$venv/install.log
cpu_index=https://download.pytorch.org/whl/cpu

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
}

check_request() {
    local extra
    [[ ${H_SWARM_TORCH:-cpu} =~ ^(cpu|ordinary)$ ]] || die "H_SWARM_TORCH is '$H_SWARM_TORCH', wanted cpu or ordinary"
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
    "$venv/bin/python" - "$cpu_index/torch/" <<'PY' >/dev/null 2>&1
import sys, urllib.request
urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="HEAD"), timeout=5).close()
PY
}

# Sets build and why: PyPI's package for Linux brings several GB of CUDA libraries, which nothing here could use.
choose_torch() {
    build=ordinary
    if [[ -n ${H_SWARM_TORCH:-} ]]; then
        build=$H_SWARM_TORCH why="as H_SWARM_TORCH says"
    elif [[ $(uname -s) != Linux ]]; then
        why="the only one for $(uname -s)"
    elif has_nvidia_device; then
        why="an NVIDIA device was found"
    elif can_reach_cpu_index; then
        build=cpu why="no NVIDIA device was found"
    else
        why="no NVIDIA device was found, but $cpu_index cannot be reached"
    fi
}

install_torch() {
    local pin build why
    pin=$(grep -m 1 '^torch==' "$root/constraints.txt")
    has_torch "${pin#torch==}" && return
    choose_torch
    if [[ $build == cpu ]]; then
        say "installing $pin, PyTorch's CPU build from $cpu_index ($why)"
        # --no-deps: that index carries other packages too, at versions that are not ours
        pip_install --no-deps --index-url "$cpu_index" "$pin" && return
        say "that did not work ($(tail -n 1 -- "$log")): taking the ordinary package"
    else
        say "installing $pin, the ordinary package ($why)"
    fi
    pip_install --constraint "$root/constraints.txt" "$pin" || show_failure "$pin"
}

install_project() {
    local extra list="" target=$root
    for extra in "$@"; do list=$list,$extra; done
    [[ -z $list ]] || target="${root}[${list#,}]"
    say "installing h-swarm${target#"$root"} with what it needs, at the versions in constraints.txt (a minute or two)"
    pip_install --constraint "$root/constraints.txt" --editable "$target" || show_failure h-swarm
    { digest; for extra in "$@"; do printf 'extra %s\n' "$extra"; done; } >"$stamp.new"
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
    make_venv
    rm -f -- "$stamp"
    drop_half_installed
    install_torch
    install_project "$@"
}

main "$@"
