# What the tests of the transfer engine share: registries that serve made-up layouts, pulls in the
# background, and what the servers' logs say. Sourced by each of these .bats files after helpers.bash.

# shellcheck disable=SC2034  # used by those who source it
MiB=1048576

# make_layout NAME:LAYERS:BYTES: once for all servers that serve it.
make_layout() {
    python3 "$E2E_DIR/../support/hostile_registry.py" --synthetic "$1" --write-layout "$BATS_FILE_TMPDIR/${1%%:*}"
}

# serve LAYOUT [NAME] [ARGUMENT]...: a registry that has it as demo:latest. The kernel holds little of
# what was sent, so that the log tells what was received.
serve() {
    local layout=$1 name=${2-hostile}
    hostile_start - --name "$name" --layout "demo=$BATS_FILE_TMPDIR/$layout" --send-buffer 65536 "${@:3}"
}

# play SCENARIO: have the registry in use behave so.
play() { hostile_scenario "$1" > "$BATS_TEST_TMPDIR/admin"; }

# capped RATE: the scenario in which every blob request is served at so many bytes a second.
capped() { printf '{"rules": [{"match": {"kind": "blob"}, "action": {"rate": %d}}]}' "$1"; }

# bounded SECONDS COMMAND...: run it, with an end.
bounded() { DRAY_STORE=$STORE run --separate-stderr timeout --kill-after 1 "$@"; }

# pull_start [OPTION]... IMAGE: in the background, its events in $BATS_TEST_TMPDIR/events. Sets PID.
pull_start() {
    DRAY_STORE=$STORE env --default-signal "$DRAY" pull --progress json "$@" > "$BATS_TEST_TMPDIR/out" 2> "$BATS_TEST_TMPDIR/events" 3>&- &
    PID=$!
}

# pull_killed: end it with SIGKILL.
pull_killed() {
    kill -KILL "$PID" 2> /dev/null || true
    wait "$PID" 2> /dev/null || true
}

# progress_beyond BYTES [FILE]: some blob has come so far.
progress_beyond() {
    jq -nRe --argjson least "$1" '[inputs | fromjson? | select(.event == "blob-progress") | .current] | any(. > $least)' \
        "${2-$BATS_TEST_TMPDIR/events}" > /dev/null
}

# blobs FILTER: a jq filter over the list of requests for blobs that the server in use has seen.
blobs() { hostile_requests | jq -s "[.[] | select(.kind == \"blob\")] | $1"; }

# sent: bytes of blobs that the server in use has sent. sent_beyond BYTES: it has sent so many of all
# kinds, those of exchanges that still go on included.
sent() { blobs 'map(.sent) | add // 0'; }
sent_beyond() { hostile_stats | jq -e --argjson least "$1" '([.seconds[]] | add // 0) > $least' > /dev/null; }

# The most exchanges that went on at once, in a list. The server notes an end a little after the
# client has seen it, so the last bit of each does not count.
# shellcheck disable=SC2034
AT_ONCE='[.[] | select(.seconds > 0.1) | {at: .time, by: 1}, {at: (.time + .seconds - 0.05), by: -1}] | sort_by(.at, .by)
    | reduce .[] as $edge ({now: 0, most: 0}; .now += $edge.by | .most = ([.most, .now] | max)) | .most'

# at_most VALUE BOUND WHAT. Where bytes are counted, the bound has a hundredth and 2 MiB to spare: on a
# busy machine a connection that was starved for two seconds is not waited for, its bytes come again.
at_most() { (($1 <= $2)) || fail "$3: $1, at most $2"; }
at_least() { (($1 >= $2)) || fail "$3: $1, at least $2"; }

# mirrored LAYOUT SCENARIO: registries "upstream" and "mirror" that have it; the mirror behaves so.
# Sets UPSTREAM (host:port) and MIRROR (the option).
mirrored() {
    serve "$1" upstream
    UPSTREAM=$HOSTILE
    serve "$1" mirror
    play "$2"
    # shellcheck disable=SC2034
    MIRROR=--mirror=$UPSTREAM=$HOSTILE_URL
}
