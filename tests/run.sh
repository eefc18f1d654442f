#!/bin/sh
# tests/run.sh [--long] [pytest arguments]
#
# Makes or refreshes the environment, then format, lint, types, import contracts, tests: the first that fails ends the
# run with its output. --long adds the tests that take more than half a minute each.
set -eu
cd -- "$(dirname -- "$0")/.."

venv=$(./start-workers.sh --environment dev)
PATH=$venv/bin:$PATH
export PATH VIRTUAL_ENV="$venv"

# The tests bring their own settings and their own database: nothing of the caller's may be used, least of all data.
for name in $(env | sed -n 's/^\(WORKERPOOL_[A-Z0-9_]*\)=.*/\1/p'); do
    case $name in
        WORKERPOOL_TEST_* | WORKERPOOL_VENV) ;;
        *) unset "$name" ;;
    esac
done
unset EDIT_AGENT_WORKERS WORKER_POLL_INTERVAL EDIT_AGENT_WEBHOOK_PORT
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE PGOPTIONS NOTIFY_SOCKET
export WORKERPOOL_STRICT_EVENTS=1

# The browser's tests need Chromium, those of the shell worker curl and jq, that of the pooler PgBouncer, those of several
# hosts ip and hostname, that of encryption openssl: they are installed where that may be done without asking (root on
# Debian, as in a container). Elsewhere those tests are left out, and say so.
wanted=''
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || wanted=chromium
for tool in curl:curl jq:jq pgbouncer:pgbouncer ip:iproute2 hostname:hostname openssl:openssl; do
    command -v "${tool%:*}" >/dev/null || wanted="$wanted ${tool#*:}"
done
if [ -n "$wanted" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing for the tests: $wanted"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # the names are words
    { apt-get -qq update && apt-get install -y -qq --no-install-recommends $wanted; } >/dev/null 2>&1 || :
fi

check() {
    if ! output=$("$@" 2>&1); then
        printf '%s\n' "$output"
        echo "tests/run.sh: failed: $*" >&2
        exit 1
    fi
    echo "passed: $*"
}

check ruff format --check .
check ruff check .
check mypy --strict workerpool
check lint-imports --no-logo

if [ "${1:-}" = --long ]; then
    shift
    set -- -m '' "$@"
fi
# Two at a time, each file as a whole: the tests mostly wait, and each process has a PostgreSQL of its own. In the order of their
# names the small ones of tests/unit come last, so that nobody is left alone with a long one.
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@" </dev/null
