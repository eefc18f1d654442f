#!/bin/sh
# start-workers.sh [VERB] [ARGUMENTS]
#
# Makes or refreshes the Python environment of this checkout, then runs `workerpool VERB ARGUMENTS` in it: `start` when
# no verb is given. The environment is .venv beside this file; WORKERPOOL_VENV moves it. It is refreshed when
# pyproject.toml or constraints.txt changed, and left alone otherwise.
#
# `start-workers.sh --environment [dev]` only makes the environment (with the tests' tools) and prints its folder.
#
# Exit codes of its own: 69 the packages could not be installed (try again), 78 this machine lacks something.
set -eu

self=$0
while [ -L "$self" ]; do
    target=$(readlink "$self")
    case $target in
        /*) self=$target ;;
        *) self=$(dirname "$self")/$target ;;
    esac
done
here=$(CDPATH='' cd -- "$(dirname -- "$self")" && pwd -P)
venv=${WORKERPOOL_VENV:-$here/.venv}
case $venv in
    /*) ;;
    *) venv=$PWD/$venv ;;
esac
stamp=$venv/.workerpool-stamp
log=$venv.log

say() {
    echo "start-workers.sh: $*" >&2
}

refuse() {
    say "$*"
    exit 78
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    refuse "Python 3.11 or newer is needed and none was found on PATH; install one (Debian: apt-get install python3 python3-venv)."
}

# What the environment was made from: it is stale when any of this changed, or when it or the checkout moved.
wanted_stamp() {
    printf '%s\n' "$(cat "$here/pyproject.toml" "$here/constraints.txt" | cksum)" "$here" "$venv"
}

is_fresh() {
    [ -x "$venv/bin/workerpool" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(wanted_stamp)" ] &&
        { [ "$1" != dev ] || [ -f "$venv/.workerpool-dev" ]; } && is_new_enough "$venv/bin/python"
}

# Debian without python3-venv has no ensurepip, but may have pip, virtualenv or uv.
make_environment() {
    if "$python" -m venv --clear "$venv" >"$log" 2>&1; then
        return
    fi
    if "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --clear --without-pip "$venv" >>"$log" 2>&1; then
        return
    fi
    if "$python" -m virtualenv --clear -q "$venv" >>"$log" 2>&1; then
        return
    fi
    if command -v uv >/dev/null && uv venv -q --clear --python "$python" "$venv" >>"$log" 2>&1; then
        return
    fi
    tail -n 5 "$log" >&2
    refuse "$python cannot make a virtual environment; install its venv module (Debian: apt-get install python3-venv), pip or uv."
}

install_packages() {
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        set -- "$venv/bin/python" -m pip "$@"
    elif command -v uv >/dev/null; then
        set -- uv pip "$@" --python "$venv/bin/python"
    else
        set -- "$(find_python)" -m pip --python "$venv/bin/python" "$@"
    fi
    PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 "$@" </dev/null >"$log" 2>&1
}

refresh() {
    extras=embedded,examples,llm,mcp,web
    if [ "$1" = dev ] || [ -f "$venv/.workerpool-dev" ]; then
        extras=$extras,dev
    fi
    if [ -f "$venv/pyvenv.cfg" ] && is_new_enough "$venv/bin/python" && grep -qsxF "$venv" "$stamp"; then
        say "refreshing the environment in $venv"
    elif [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
        refuse "$venv holds something else than a Python environment; move it away, or set WORKERPOOL_VENV."
    else
        python=$(find_python) || exit $?
        say "making the environment in $venv (a minute or so, once)"
        make_environment
    fi
    rm -f "$stamp"
    if ! install_packages install -q -c "$here/constraints.txt" -e "${here}[$extras]"; then
        tail -n 20 "$log" >&2
        say "the packages could not be installed; the reason is above, all of it in $log"
        exit 69
    fi
    case $extras in *dev) : >"$venv/.workerpool-dev" ;; esac
    wanted_stamp >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

environment() {
    if is_fresh "$1"; then
        return
    fi
    parent=$(dirname "$venv")
    mkdir -p "$parent" 2>/dev/null || :
    if [ ! -w "$parent" ] || { [ -e "$venv" ] && [ ! -w "$venv" ]; }; then
        refuse "$venv cannot be written by $(id -un); set WORKERPOOL_VENV to a folder that can."
    fi
    if ! command -v flock >/dev/null; then
        refresh "$1"
        return
    fi
    # Two starts at once: the second waits, and then finds the environment fresh.
    (
        flock -n 9 || { say "another start is making the environment; waiting for it" && flock 9; }
        is_fresh "$1" || refresh "$1"
    ) 9>"$venv.lock"
}

if [ "${1:-}" = --environment ]; then
    environment "${2:-}"
    echo "$venv"
    exit 0
fi
environment ''
[ $# -gt 0 ] || set -- start
exec "$venv/bin/workerpool" "$@"
