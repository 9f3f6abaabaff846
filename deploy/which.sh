#!/usr/bin/env bash
# Says which way the stack runs here: `native` or `compose`. LOCKSTEP_STACK decides if it is set; else a native stack
# that runs; else Docker if its engine answers.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${LOCKSTEP_STACK:-}" in
    native | compose) echo "$LOCKSTEP_STACK" ;;
    "")
        pid=$(cat "${LOCKSTEP_STACK_HOME:-.lockstep}/run/supervisord.pid" 2>/dev/null || true)
        if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then
            echo native
        elif docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
            echo compose
        else
            echo native
        fi
        ;;
    *)
        echo "error: LOCKSTEP_STACK=$LOCKSTEP_STACK is unknown: it is native or compose" >&2
        exit 1
        ;;
esac
