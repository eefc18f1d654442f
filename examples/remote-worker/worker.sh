#!/bin/sh
# worker.sh: performs revisions of one handler over HTTP, with sh, curl and jq; a worker in any language does the same.
#
#   WORKERPOOL_URL=http://127.0.0.1:3031 WORKERPOOL_REMOTE_TOKEN=wp_… ./worker.sh
#
# The work itself is the function `perform`. Beside it a loop in the background sends heartbeats: they keep the claim, and
# their answers say what is wanted: an end (cancelled), a stay at the next checkpoint (hold), or that the claim is gone
# (lost). The two talk by files of those names. TERM or Ctrl-C: the revision is given back at the next checkpoint.
set -eu
umask 077

url=${WORKERPOOL_URL:-http://127.0.0.1:3031}
handler=${WORKERPOOL_HANDLER:-words}
worker=${WORKERPOOL_WORKER:-sh1}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
echo none >"$dir/told"

# The token goes into a file that only we can read: what stands in arguments, everybody on the machine can read.
if [ -n "${WORKERPOOL_REMOTE_TOKEN:-}" ]; then
    printf 'Authorization: Bearer %s\n' "$WORKERPOOL_REMOTE_TOKEN"
fi >"$dir/header"
unset WORKERPOOL_REMOTE_TOKEN

say() { printf '%s worker.sh: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >&2; }

stopping() { [ -e "$dir/stopping" ] || ! kill -0 $$ 2>/dev/null; }

# nap SECONDS: less, if we are to stop.
nap() {
    left=$1
    while [ "$left" -gt 0 ] && ! stopping; do
        sleep 1
        left=$((left - 1))
    done
}

# ask NAME PATH <BODY: sets status (000: nobody answered); the answer is in the file NAME.
ask() {
    status=$(curl -s --max-time 10 -o "$dir/$1" -w '%{http_code}' -H @"$dir/header" -H 'Content-Type: application/json' \
        --data-binary @- "$url/api/queue/jobs/$2") || status=000
}

# body FILTER [OPTION…]: what every message of the attempt carries, and more.
body() {
    more=$1 && shift
    jq -c --arg worker "$worker" "$@" "{claimToken: .job.claimToken, worker: \$worker} + $more" "$dir/claim"
}

# note_pause NAME: say what is in force, once a version.
note_pause() {
    jq -r '.system | if .workersPaused then "\(.version), \(.mode): \(.reason)" else "none" end' "$dir/$1" >"$dir/pause"
    if ! cmp -s "$dir/pause" "$dir/told"; then
        say "pause: $(cat "$dir/pause")"
        cp "$dir/pause" "$dir/told"
    fi
}

# -- the heartbeats, in the background ---------------------------------------------------------------------------------

# (By the wall clock, which sh alone has: a second is taken off, since it is read in whole ones.)
beat() {
    trap ': >"$dir/lost"' EXIT
    accepted=$(date +%s)
    while :; do
        held=false
        if [ -e "$dir/held" ]; then held=true; fi
        sent=$(date +%s)
        body "{held: $held}" >"$dir/beat.body"
        ask beat "$id/heartbeat" <"$dir/beat.body"
        case $status in
        200) accepted=$sent && heed "$held" ;;
        000 | 408 | 429 | 5*) ;;
        *) break ;;
        esac
        [ $(($(date +%s) - accepted)) -lt $((lease - 1)) ] || break
        if [ -e "$dir/hold" ]; then sleep 1; else sleep "$heartbeat"; fi
    done
}

# heed HELD: do what the answer to a heartbeat says; only the answer to one that said held lets the work go on.
heed() {
    note_pause beat
    if jq -e .job.cancelRequested "$dir/beat" >/dev/null; then : >"$dir/cancelled"; fi
    if jq -e .job.hold "$dir/beat" >/dev/null; then
        : >"$dir/hold"
    elif [ "$1" = true ] || [ ! -e "$dir/held" ]; then
        rm -f "$dir/hold" "$dir/held"
    fi
}

# -- the work ----------------------------------------------------------------------------------------------------------

ended() { [ -e "$dir/cancelled" ] || [ -e "$dir/lost" ] || stopping; }

# checkpoint: stay here while the pool is quiesced; false where the work is to end.
checkpoint() {
    if [ -e "$dir/hold" ]; then
        say "revision $id is held"
        : >"$dir/held"
        while [ -e "$dir/held" ] && ! ended; do sleep 1; done
    fi
    ! ended
}

# progress PERCENT STEP: if it is not heard, that does no harm.
progress() {
    body '{percentage: ($percent | tonumber), step: $step, log: [{message: $step}]}' \
        --arg percent "$1" --arg step "$2" >"$dir/progress.body"
    ask progress "$id/progress" <"$dir/progress.body"
}

# perform: the payload is in the file claim (.job.payload), the result goes into the file result. This one counts the
# words of payload.text, in payload.rounds steps of a second, with a checkpoint before each.
perform() {
    rounds=$(jq -r '.job.payload.rounds // 3' "$dir/claim")
    round=0
    while [ "$round" -lt "$rounds" ]; do
        checkpoint || return 1
        progress $((100 * round / rounds)) "round $((round + 1)) of $rounds"
        sleep 1
        round=$((round + 1))
    done
    checkpoint || return 1
    words=$(jq -r '.job.payload.text // ""' "$dir/claim" | wc -w)
    jq -n "{summary: \"$((words)) words\", output: {words: $((words))}}" >"$dir/result"
}

# -- a revision from claim to outcome ----------------------------------------------------------------------------------

# settle VERB FILTER: tell how it ended, again until it is heard or the lease is over. The same twice counts once.
settle() {
    body "$2" --slurpfile result "$dir/result" >"$dir/outcome.body"
    over=$(($(date +%s) + lease))
    while [ "$(date +%s)" -lt "$over" ]; do
        ask outcome "$id/$1" <"$dir/outcome.body"
        case $status in
        200) say "revision $id: $1" && return ;;
        409) break ;;
        000 | 408 | 429 | 5*) sleep 1 ;;
        *) say "revision $id: $1 was refused: $(jq -r .detail "$dir/outcome")" && return ;;
        esac
    done
    say "revision $id: the claim is lost, nothing more is written"
}

work() {
    id=$(jq -r .job.id "$dir/claim")
    heartbeat=$(jq -r '.intervals.heartbeat | ceil' "$dir/claim")
    lease=$(jq -r '.intervals.lease | floor' "$dir/claim")
    rm -f "$dir/lost" "$dir/cancelled" "$dir/hold" "$dir/held"
    : >"$dir/result"
    say "revision $id of $(jq -c .job.itemKey "$dir/claim"), attempt $(jq -r .job.attempt "$dir/claim")"
    beat &
    beating=$!
    outcome=failed
    if perform; then outcome=done; fi
    if [ -e "$dir/lost" ]; then outcome=lost; fi
    kill -KILL "$beating" 2>/dev/null || :
    wait "$beating" || :
    if [ $outcome = lost ]; then
        say "revision $id: the claim is lost, nothing more is written"
    elif [ $outcome = done ]; then
        settle complete '{result: $result[0]}'
    elif [ -e "$dir/cancelled" ]; then
        settle fail '{kind: "cancelled", message: "it stopped as it was asked to"}'
    elif stopping; then
        settle release '{reason: "the worker is stopping"}'
    else
        settle fail '{message: "the work failed"}'
    fi
}

# -- the loop ----------------------------------------------------------------------------------------------------------

main() {
    request='' away=''
    while ! stopping; do
        # The same id again after a lost answer is the same claim.
        [ -n "$request" ] || request=$(cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen)
        jq -n --arg handler "$handler" --arg worker "$worker" --arg request "$request" \
            '{claimRequestId: $request, handlers: [$handler], worker: $worker}' >"$dir/claim.body"
        ask claim claim <"$dir/claim.body"
        case $status in
        200) request='' away='' ;;
        000 | 408 | 429 | 5*)
            [ -n "$away" ] || say "no answer from $url ($status); trying on"
            away=1
            nap 2
            continue
            ;;
        *)
            say "the server refuses ($status): $(jq -r .detail "$dir/claim")"
            return 78
            ;;
        esac
        note_pause claim
        if jq -e .job "$dir/claim" >/dev/null; then
            work
        else
            nap "$(jq -r 'if .system.workersPaused then .intervals.pausePoll else .intervals.poll end | ceil' "$dir/claim")"
        fi
    done
    say "stopped"
}

# A terminal or a supervisor may signal the whole group: what works ignores that, and looks at the file.
say "asks $url for revisions of $handler"
trap ': >"$dir/stopping"' TERM INT
(trap '' TERM INT && main) &
working=$!
code=143
while [ "$code" -gt 128 ] && kill -0 "$working" 2>/dev/null; do
    code=0
    wait "$working" || code=$?
done
exit "$code"
