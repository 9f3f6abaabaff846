#!/usr/bin/env bash
# The stack in containers: what `make up` and its like do when a Docker engine is there. Needs nothing but Docker.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

docker compose version >/dev/null 2>&1 || fail "the command 'docker compose' is missing; install Docker's compose plugin, or use LOCKSTEP_STACK=native"
docker info >/dev/null 2>&1 || fail "no Docker engine answers; start it, or use LOCKSTEP_STACK=native"

# Like compose itself: the environment first, then .env, then the default.
setting() {
    local value=${!1:-}
    [ -n "$value" ] || value=$(sed -n "s/^$1=['\"]\{0,1\}\([^'\"[:space:]]*\).*/\1/p" .env 2>/dev/null | tail -n 1)
    printf '%s' "${value:-$2}"
}

nodes=$(grep -cE '^  node-[0-9]+:$' compose.yaml || true)

welcome() {
    local web command
    web="http://127.0.0.1:$(setting LOCKSTEP_WEB_PORT 8000)"
    command="docker compose run --rm client"
    [ -x .venv/bin/lockstep ] && command=.venv/bin/lockstep
    cat <<TEXT

Lockstep is ready (in containers).
  REST            $web   (documentation: $web/docs)
$(for number in $(seq "$nodes"); do
    port=$(setting "LOCKSTEP_NODE_${number}_WEBSOCKET_PORT" $((8100 + number)))
    echo "  WebSocket       ws://127.0.0.1:$port/v1/websocket   (node-$number)"
done)
  PostgreSQL      127.0.0.1:$(setting LOCKSTEP_DATABASE_PORT 15432)
  Kafka           127.0.0.1:$(setting LOCKSTEP_KAFKA_PORT 19092)

Next:
  $command signup      make a workspace and yourself
  $command chat general
  make demo, make status, make logs, make down
TEXT
}

command=${1:?up, down, status, logs or clean}
shift
case "$command" in
    up)
        [ "$nodes" -gt 0 ] || fail "compose.yaml has no nodes: run 'make compose'"
        wanted=$(setting LOCKSTEP_NODE_COUNT "$nodes")
        [[ $wanted =~ ^[0-9]+$ ]] || fail "LOCKSTEP_NODE_COUNT=$wanted is no number of nodes"
        [ "$((10#$wanted))" = "$nodes" ] || fail "compose.yaml has $nodes nodes; for $wanted of them run 'make compose NODES=$wanted' first"
        before=$(docker compose ps --quiet)
        # Orphans: nodes that an earlier compose.yaml had.
        if ! docker compose up --build --detach --wait --wait-timeout 180 --remove-orphans; then
            docker compose logs --tail 5 || true
            [ -n "$before" ] || docker compose down
            fail "the stack did not come up; the last lines of each log are above"
        fi
        welcome
        ;;
    down) docker compose down --remove-orphans ;;
    status) docker compose ps --all ;;
    logs) docker compose logs --follow --tail 20 "$@" ;;
    clean)
        echo "This stops the stack and removes all its data for ever (the volumes of compose.yaml)."
        if [ "${1:-}" != --yes ]; then
            [ -t 0 ] || fail "nobody is there to ask: run 'make clean YES=1'"
            read -r -p "Remove? [y/N] " answer
            case "$answer" in y | Y | yes) ;; *) echo kept; exit 1 ;; esac
        fi
        docker compose down --volumes --remove-orphans
        ;;
    *) fail "unknown command $command" ;;
esac
