#!/bin/sh
# run.sh: the pool and the service, until Ctrl-C.
#
# With OPENAI_API_KEY or DEEPSEEK_API_KEY in the environment that provider is asked (PAGE_EDITS_MODEL names another of
# its models); without a key, a model on this machine that answers by rules. WORKERPOOL_DATABASE_URL or WORKERPOOL_HOME
# say where the data is; if neither is set, in .workerpool beside this file.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
venv=$("$here/../../start-workers.sh" --environment)
PATH=$venv/bin:$PATH

WORKERPOOL_HOME=${WORKERPOOL_HOME:-$here/.workerpool}
WORKERPOOL_HANDLERS=$here/page_edit_handlers.py
WORKERPOOL_SOURCES=$here/sources.toml
WORKERPOOL_SHUTDOWN_GRACE=${WORKERPOOL_SHUTDOWN_GRACE:-5s}
PAGE_EDITS_HTTP=${PAGE_EDITS_HTTP:-127.0.0.1:8080}
export WORKERPOOL_HOME WORKERPOOL_HANDLERS WORKERPOOL_SOURCES WORKERPOOL_SHUTDOWN_GRACE PAGE_EDITS_HTTP
mkdir -p -m 700 "$WORKERPOOL_HOME"
log=$WORKERPOOL_HOME/page-edits.log
secret=$WORKERPOOL_HOME/page-edits.secret
model='' pool='' service=''

finish() {
    trap '' INT TERM
    for pid in $service $pool; do kill -TERM "$pid" 2>/dev/null || :; done
    for pid in $service $pool; do wait "$pid" 2>/dev/null || :; done
    # The last: the pool may still be asking it.
    [ -z "$model" ] || { kill -TERM "$model" 2>/dev/null || :; wait "$model" 2>/dev/null || :; }
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

lives() {
    kill -0 "$1" 2>/dev/null
}

pass() {
    sleep "$1" &
    wait $! || :
}

gave_up() {
    echo "run.sh: $1 has ended; the end of $log:" >&2
    tail -n 15 "$log" >&2
    exit 1
}

# Senders of webhooks sign with this. It is made once, and read by nobody but this user and the pool's API.
if [ -z "${PAGE_EDITS_SECRET:-}" ]; then
    [ -s "$secret" ] || (umask 077 && python -c 'import base64, os; print("whsec_" + base64.b64encode(os.urandom(32)).decode())' >"$secret")
    PAGE_EDITS_SECRET=$(cat "$secret")
fi
export PAGE_EDITS_SECRET

: >"$log"
workerpool start >>"$log" 2>&1 &
pool=$!
until grep -q 'manager\.ready' "$log"; do
    lives "$pool" || gave_up 'the pool'
    pass 0.2
done

if [ -n "${OPENAI_API_KEY:-}" ]; then
    provider=openai
    set -- --type openai --model "${PAGE_EDITS_MODEL:-gpt-5-mini}"
elif [ -n "${DEEPSEEK_API_KEY:-}" ]; then
    provider=deepseek
    set -- --type deepseek --model "${PAGE_EDITS_MODEL:-deepseek-flash}"
else
    provider=rehearsal
    address=$WORKERPOOL_HOME/rehearsal.url
    : >"$address"
    python "$here/rehearsal_model.py" >"$address" 2>>"$log" &
    model=$!
    until [ -s "$address" ]; do
        lives "$model" || gave_up 'the rehearsal model'
        pass 0.1
    done
    set -- --type openai-compatible --base-url "$(cat "$address")" --model rehearsal
fi
workerpool providers edit "$provider" "$@" >/dev/null 2>&1 || workerpool providers add "$provider" "$@" >/dev/null
workerpool agents edit page-editor --provider "$provider" >/dev/null 2>&1 ||
    workerpool agents add page-editor --provider "$provider" --temperature 0.2 --max-tokens 16000 \
        --role 'an editor of web pages' \
        --backstory 'You change the pages of other people as they ask, and you leave the rest alone.' >/dev/null

python "$here/page_service.py" &
service=$!
echo "the edits are made by: $provider; the pool's dashboard is at http://${WORKERPOOL_HTTP:-127.0.0.1:3031}/"
echo "the pool's log is $log; Ctrl-C ends all of it"
while lives "$pool" && lives "$service"; do
    pass 1
done
lives "$pool" || gave_up 'the pool'
echo "run.sh: the service has ended" >&2
exit 1
