#!/usr/bin/env bash
# Makes .venv what requirements/*.txt say: `deploy/environment.sh runtime` (make up), `dev` (make test, make check) or
# `bench` (make bench).
# Does nothing, at once, when it is that already.
set -euo pipefail
cd "$(dirname "$0")/.."

want=${1:?runtime, dev or bench}
venv=.venv

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# What the environment depends on; a change makes it anew.
state() { cat requirements/build.txt "requirements/$1.txt" pyproject.toml | cksum; pwd; }
stamp() { printf '%s' "$venv/.lockstep-$1"; }

current() { [ -x "$venv/bin/python" ] && [ -f "$(stamp "$1")" ] && [ "$(state "$1")" = "$(cat "$(stamp "$1")")" ]; }

current "$want" && exit 0

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    candidate=${PYTHON:-python3}
    fail "Python 3.11 or newer is needed ($candidate is $("$candidate" -V 2>/dev/null || echo 'not there')):" \
         "install one, or name it: make PYTHON=/path/to/python3.12 ..."
}

# A folder that was moved or made by another Python does not work: begin again.
if [ -d "$venv" ] && ! { new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    rm -rf "$venv"
fi
if [ ! -d "$venv" ]; then
    python=$(find_python)
    printf 'Making .venv with %s ...\n' "$("$python" -V)"
    "$python" -m venv "$venv" || {
        rm -rf "$venv"
        fail "'$python -m venv' failed; on Debian: apt-get install python3-venv"
    }
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet --no-input "$@"; }

printf 'Installing the pinned packages (%s) ...\n' "$want"
rm -f "$venv"/.lockstep-*
pip install --require-hashes -r requirements/build.txt -r "requirements/$want.txt" ||
    fail "the packages of requirements/$want.txt could not be installed (is the network there?); run the same command again"
# The project itself, so that the command `lockstep` is in .venv/bin.
pip install --no-build-isolation --no-deps --editable . || fail "the project itself could not be installed into .venv"

state "$want" > "$(stamp "$want")"
if [ "$want" != runtime ]; then state runtime > "$(stamp runtime)"; fi
