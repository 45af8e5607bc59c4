# The transfer engine, as servers see it: which bytes are asked for, how often, of whom, how many at
# once, and what a kill, a refusal or a lie costs. Figures come from the hostile registry's log, not
# from dray. Rates are capped at the server where something has to happen in the middle of a transfer;
# so low that CPU is never short, under sanitizers and on two cores either: dray has no more workers
# than CPUs on a blob while it is.

setup_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    . "${BATS_TEST_DIRNAME}/engine.bash"
    make_layout large:1:300M
    make_layout broad:1:100M
    make_layout medium:1:32Mi
    make_layout pair:2:16Mi
    make_layout several:12:300Ki+1:12Mi
    make_layout pieces:24:100Ki
    make_layout mixed:1:96Mi+100:20Ki
}

teardown_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    stop_all
}

setup() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    . "${BATS_TEST_DIRNAME}/engine.bash"
    . "${BATS_TEST_DIRNAME}/outcomes.bash"
    STORE=$BATS_TEST_TMPDIR/store
}

teardown() {
    stop_all
    rm -rf "$BATS_TEST_TMPDIR"
}

# ----- resume -----

@test "H-55 twenty kills of a large layer cost at most a segment's granule per worker and kill" {
    local round size=300000000 seed=${DRAY_TEST_SEED:-$RANDOM} jobs=2 lost before resumed
    lost=$((20 * jobs * MiB))
    echo "# DRAY_TEST_SEED=$seed" >&3
    RANDOM=$seed
    serve large
    play "$(capped 12000000)"
    for round in {1..20}; do
        pull_start -j $jobs "$HOSTILE/demo"
        # most when some 12 MB more have come, some at any time, perhaps before the first byte
        if ((round % 5)); then
            wait_until 60 sent_beyond $((round * 12000000 - RANDOM % 6000 * 1000)) || fail "round $round: $(tail -3 "$BATS_TEST_TMPDIR/events")"
        else
            sleep "$(printf '0.%03d' $((RANDOM % 300)))"
        fi
        pull_killed
    done
    at_least "$(blobs 'map(select(.end == "client-gone")) | length')" 16 "transfers that were killed"
    before=$(sent)
    at_least "$before" 180000000 "bytes sent to those that were killed"
    play '{"rules": []}'
    bounded 120 "$DRAY" pull -q -j $jobs --report "$BATS_TEST_TMPDIR/report" "$HOSTILE/demo"
    expect 0
    check_store
    resumed=$(jq .totals.resumed_bytes "$BATS_TEST_TMPDIR/report")
    at_least "$resumed" $((before - lost - size * 2 / 100)) "bytes resumed by the last pull, $before had been sent"
    at_most "$(sent)" $((size * 102 / 100 + lost)) "bytes sent"
}

# ----- two processes -----

@test "H-59 of two processes one fetches and the other shows how far it is" {
    local first other=0
    serve large
    play "$(capped 20000000)"
    pull_start "$HOSTILE/demo"
    first=$PID
    mv "$BATS_TEST_TMPDIR/events" "$BATS_TEST_TMPDIR/first"
    pull_start "$HOSTILE/demo"
    wait "$PID" || other=$?
    wait "$first" || fail "first: $(tail -3 "$BATS_TEST_TMPDIR/first")"
    [[ $other -eq 0 ]] || fail "second: $(tail -3 "$BATS_TEST_TMPDIR/events")"
    check_store
    at_most "$(sent)" $((300000000 * 101 / 100)) "bytes sent"
    progress_beyond 1000000 "$BATS_TEST_TMPDIR/first"
    progress_beyond 1000000 || fail "the one that waits shows no progress"
}

@test "H-59 when the process that fetches is killed, the one that waits takes over" {
    local first other=0
    serve large
    play "$(capped 4000000)"
    pull_start -j 8 "$HOSTILE/demo"
    first=$PID
    wait_until 30 progress_beyond 30000000
    mv "$BATS_TEST_TMPDIR/events" "$BATS_TEST_TMPDIR/first"
    pull_start -j 8 "$HOSTILE/demo"
    wait_until 30 grep -q blob- "$BATS_TEST_TMPDIR/events"
    sleep 0.3
    kill -KILL "$first"
    wait "$first" 2> /dev/null || true
    play '{"rules": []}'
    wait "$PID" || other=$?
    [[ $other -eq 0 ]] || fail "second: $(tail -3 "$BATS_TEST_TMPDIR/events")"
    check_store
    at_most "$(sent)" $((300000000 * 102 / 100 + 8 * MiB)) "bytes sent"
}

# ----- segments -----

@test "a large layer comes in bounded ranges, over several connections that are kept" {
    serve broad
    play "$(capped 4000000)"
    bounded 120 "$DRAY" pull -q -j 8 "$HOSTILE/demo"
    expect 0
    check_store
    at_least "$(blobs "$AT_ONCE")" 4 "requests at once"
    at_most "$(blobs "$AT_ONCE")" 8 "requests at once"
    at_most "$(blobs 'map(select(.headers.range // "" | test("^bytes=[0-9]+-[0-9]+$") | not) | select(.sent > 1000000)) | length')" 0 \
        "large requests without a bounded range"
    at_least "$(blobs 'length')" "$(($(blobs 'map(.connection) | unique | length') + 2))" "requests of kept connections"
    at_most "$(sent)" $((100000000 * 101 / 100 + 2 * MiB)) "bytes sent"
}

@test "--connections-per-blob bounds the connections of one blob" {
    serve medium
    play "$(capped 4000000)"
    bounded 60 "$DRAY" pull -q -j 8 --connections-per-blob 3 "$HOSTILE/demo"
    expect 0
    check_store
    [[ $(blobs "map(select(.sent > 10000)) | $AT_ONCE") -eq 3 ]] || fail "at once: $(blobs "$AT_ONCE")"
}

@test "a small blob is asked for whole, once" {
    serve pieces
    bounded 60 "$DRAY" pull -q "$HOSTILE/demo"
    expect 0
    [[ $(blobs 'map(select(.headers | has("range"))) | length') -eq 0 ]]
    [[ $(blobs 'map(.path) | (length == (unique | length))') == true ]]
}

@test "H-9 a server that ignores ranges sends the whole once" {
    serve medium
    play '{"rules": [{"match": {"kind": "blob"}, "action": {"ignore_range": true, "rate": 16000000}}]}'
    bounded 60 "$DRAY" pull -q -j 8 "$HOSTILE/demo"
    expect 0
    check_store
    at_most "$(blobs 'map(select(.sent >= 33554432)) | length')" 1 "times that the whole was sent"
    at_most "$(blobs 'length')" 10 "requests"
    at_most "$(sent)" $((32 * MiB * 14 / 10)) "bytes sent"
}

@test "H-7 H-9 to H-12 large layers: wrong ranges and lengths end in the right blob or a clear error" {
    serve medium
    outcomes << 'END'
h07-chunked 0
h07-chunked-cut 0
h09-200-to-range 0
h09-206-without-range [01]
h10-early-start [01]
h10-header-lies [016]
h10-junk-content-range [01]
h10-later-end [01]
h10-multipart [01]
h10-no-content-range [01]
h10-other-end [01]
h10-other-start [01]
h10-other-total [01]
h10-star-total [01]
h10-two-content-ranges [01]
h11-416-always [01]
h11-416-at-end 0
h12-content-changes [016]
h12-etag-changes 0
h01-close-at-half 0
h43-flip-middle 6
END
}

@test "H-10 when ranges are refused or wrong the whole is asked for, not for ever" {
    local action
    for action in '{"status": 416}' '{"content_range": []}' '{"content_range": ["bytes 5-9/99"]}' '{"multipart": true}' '{"status": 400}'; do
        serve medium
        play "{\"rules\": [{\"match\": {\"kind\": \"blob\", \"blob\": \"layer\", \"has\": [\"range\"]}, \"action\": $action}]}"
        bounded 60 "$DRAY" pull -q -j 8 "$HOSTILE/demo"
        expect 0
        check_store
        at_most "$(blobs 'map(select(.headers | has("range"))) | length')" 20 "requests with a range, $action"
        at_most "$(blobs 'map(select(.sent >= 33554432)) | length')" 1 "times that the whole was sent, $action"
        rm -rf "$STORE"
        hostile_stop
    done
}

@test "H-3 segments that stall are brought by others, and nothing else twice" {
    serve medium
    play '{"rules": [{"match": {"kind": "blob", "blob": "layer", "skip": 1, "times": 2}, "action": {"stall": 0.5}},
                     {"match": {"kind": "blob"}, "action": {"rate": 8000000}}]}'
    bounded 60 "$DRAY" pull -q -j 8 --timeout 2s "$HOSTILE/demo"
    expect 0
    check_store
    at_most "$(sent)" $((32 * MiB * 14 / 10)) "bytes sent"
}

# ----- redirects -----

@test "a registry that redirects is asked once for a blob, not for each part" {
    serve medium
    play '{"rules": [{"match": {"kind": "blob", "listener": "main"}, "action": {"redirect": "{url:cdn}{path}?sig={nth}"}},
                     {"match": {"kind": "blob", "listener": "cdn"}, "action": {"rate": 8000000}}]}'
    bounded 60 "$DRAY" pull -q -j 8 "$HOSTILE/demo"
    expect 0
    check_store
    [[ $(blobs 'map(select(.listener == "main")) | length') -eq 2 ]] || fail "$(blobs 'map(select(.listener == "main"))')"
    at_least "$(blobs 'map(select(.listener == "cdn")) | length')" 3 "requests where the redirect leads"
}

@test "H-24 a redirect's target that has expired is asked of the registry again, and no byte twice" {
    local status_of
    for status_of in 403 410; do
        serve medium
        play '{"rules": [
            {"match": {"kind": "blob", "listener": "main", "blob": "layer"}, "action": {"redirect": "{url:cdn}{path}?sig={nth}"}},
            {"match": {"kind": "blob", "listener": "cdn", "query": "^sig=1$", "skip": 2}, "action": {"status": '$status_of'}},
            {"match": {"kind": "blob", "listener": "cdn"}, "action": {"rate": 8000000}}]}'
        bounded 60 "$DRAY" pull -q -j 8 "$HOSTILE/demo"
        expect 0
        check_store
        at_least "$(blobs 'map(select(.listener == "main" and .status == 307)) | length')" 2 "times that the registry was asked"
        at_most "$(blobs 'map(select(.listener == "main" and .status == 307)) | length')" 9 "times that the registry was asked"
        at_most "$(sent)" $((32 * MiB * 101 / 100 + 2 * MiB)) "bytes sent"
        rm -rf "$STORE"
        hostile_stop
    done
}

# ----- refusals and limits -----

@test "H-28 after a 429 no worker asks before the time the server gave" {
    serve pair
    # one layer is refused; the other one's workers need 2 s for a part, and are done when nobody may ask
    play '{"rules": [{"match": {"kind": "blob", "blob": "layer:0", "skip": 1, "times": 2}, "action": {"status": 429, "headers": {"Retry-After": "4"}}},
                     {"match": {"kind": "blob", "blob": "layer", "times": 8}, "action": {"rate": 2000000}}]}'
    bounded 60 "$DRAY" pull -v -j 8 "$HOSTILE/demo"
    expect 0
    check_store
    # requests sent before the refusal was heard are fair; after that there are none until four seconds are over
    [[ $(blobs '(map(select(.status == 429) | .time + .seconds) | min) as $said
        | map(select(.time > $said + 1.5 and .time < $said + 3.9)) | length') -eq 0 ]] || fail "$(blobs 'map([.time, .status])')"
    at_least "$(blobs '(map(select(.status == 429) | .time + .seconds) | min) as $said
        | map(select(.status != 429) | .time + .seconds | select(. > $said + 1 and . < $said + 3.9)) | length')" 1 \
        "answers after which a worker had to hold back"
    at_least "$(blobs '(map(select(.status == 429) | .time + .seconds) | min) as $said | map(select(.time > $said + 3.9)) | length')" 1 \
        "requests after the pause"
}

@test "H-28 a host that refuses for load gets fewer requests at once" {
    local before after
    serve broad
    play '{"rules": [{"match": {"kind": "blob", "blob": "layer", "skip": 6, "times": 4}, "action": {"status": 429, "headers": {"Retry-After": "1"}}},
                     {"match": {"kind": "blob"}, "action": {"rate": 2000000}}]}'
    pull_start -j 8 "$HOSTILE/demo"
    wait_until 60 eval '[[ $(blobs "map(select(.status == 429)) | length") -ge 4 ]]' || fail "$(blobs 'map([.time, .status])')"
    sleep 4.2
    pull_killed
    before=$(blobs "(map(select(.status == 429) | .time) | min) as \$at | map(select(.time <= \$at)) | $AT_ONCE")
    # the last pause is over two seconds after the last refusal, and what was asked for before it has come
    after=$(blobs "(map(select(.status == 429) | .time + .seconds) | max + 3) as \$from
        | map((.time + .seconds) as \$until | select(.time < \$from + 1 and \$until > \$from)
            | .time = ([.time, \$from] | max) | .seconds = ([\$until, \$from + 1] | min) - .time) | $AT_ONCE")
    at_least "$before" 4 "requests at once before"
    at_least "$after" 1 "requests at once afterwards, $before before"
    at_most "$after" $((before - 1)) "requests at once afterwards, $before before"
}

@test "H-29 a storm of 503 in the middle of a large layer is waited out" {
    serve medium
    play '{"rules": [{"match": {"kind": "blob", "blob": "layer", "skip": 2, "times": 4}, "action": {"status": 503}},
                     {"match": {"kind": "blob"}, "action": {"rate": 16000000}}]}'
    bounded 90 "$DRAY" pull -q -j 8 --retries 10 "$HOSTILE/demo"
    expect 0
    check_store
    at_most "$(sent)" $((32 * MiB * 101 / 100 + 2 * MiB)) "bytes sent"
}

# met ID...: these rules of the server in use were applied.
met() {
    local id
    for id; do
        at_least "$(hostile_requests | jq -s "map(select(.rule == \"$id\")) | length")" 1 "requests that met $id"
    done
}

# once ID:BLOB:ACTION...: rules by which the first request for each blob is treated so.
once() {
    local rule id blob comma=
    for rule; do
        IFS=: read -r id blob rule <<< "$rule"
        printf '%s{"id": "%s", "match": {"kind": "blob", "blob": "layer:%s", "times": 1}, "action": {%s}}' "$comma" "$id" "$blob" "$rule"
        comma=,
    done
}

@test "no slot is leaked by any kind of failure" {
    local challenge='"WWW-Authenticate": "Bearer realm=\"{url}/token\",service=\"hostile\",scope=\"repository:demo:pull\""'
    serve several
    play '{"rules": ['"$(once '429-now:0:"status": 429, "headers": {"Retry-After": "0"}' '429:1:"status": 429, "headers": {"Retry-After": "1"}' \
        '503:2:"status": 503' '502:3:"status": 502' 'rst-start:4:"rst": "start"' 'rst:5:"rst": 0.5' 'close-headers:6:"close": "mid-headers"' \
        'close:7:"close": 0.5' 'stall-start:8:"stall": "start"' 'stall:9:"stall": 0.5' '401:10:"status": 401, "headers": {'"$challenge"'}' \
        'cut:11:"close": 0.5, "framing": "chunked"' 'close-large:12:"close": 0.25')"',
        {"id": "416", "match": {"kind": "blob", "has": ["range"], "nth": 2}, "action": {"status": 416}},
        {"id": "too-much", "match": {"kind": "blob", "has": ["range"], "nth": 4}, "action": {"range": {"end": 1000}}}]}'
    # a slot that is not given back is waited for, for ever
    bounded 90 "$DRAY" pull -q -j 4 --max-connections-per-host 1 --retries 10 --timeout 2s "$HOSTILE/demo"
    expect 0
    check_store
    met 429-now 429 503 502 rst-start rst close-headers close stall-start stall 401 cut close-large 416 too-much
    at_most "$(hostile_requests | jq -s "$AT_ONCE")" 1 "requests at once"
}

@test "no slot is leaked when a blob fails for good" {
    # of what is overlong all is there, and right, when too much comes
    local kind kinds=(404 403 400 401 too-much too-little wrong junk loop nowhere) arguments=()
    for kind in "${kinds[@]}" overlong good; do arguments+=(--synthetic "$kind:1:100Ki:$kind"); done
    hostile_start - "${arguments[@]}"
    always() { printf '{"id": "%s", "match": {"kind": "blob", "blob": "layer", "name": "%s"}, "action": {%s}}' "$1" "$1" "$2"; }
    play '{"rules": ['"$(always 404 '"status": 404'), $(always 403 '"status": 403'), $(always 400 '"status": 400'), $(always 401 '"status": 401'),
        $(always too-much '"resize": 1000'), $(always too-little '"resize": -1000'), $(always overlong '"resize": 1000, "framing": "chunked"'),
        $(always wrong '"flip": 0.5'), $(always junk '"raw": "junk"'), $(always loop '"redirect": "{path}", "chain": 50'),
        $(always nowhere '"redirect": "http://127.0.0.1:1/"')"']}'
    bounded 90 "$DRAY" pull -q -j 4 --max-connections-per-host 1 --retries 1 --timeout 2s "${kinds[@]/#/$HOSTILE/}" "$HOSTILE/overlong" "$HOSTILE/good"
    expect 3
    check_store
    met "${kinds[@]}" overlong
    for kind in "${kinds[@]}"; do says "$HOSTILE/$kind:latest:"; done
    bounded 10 "$DRAY" images --format json
    [[ $(jq -c 'map(.reference | split("/")[1])' <<< "$output") == '["good:latest","overlong:latest"]' ]] || fail "not these"
    at_most "$(hostile_requests | jq -s "$AT_ONCE")" 1 "requests at once"
}

@test "what a registry says of its quota is told with -v" {
    serve pieces
    play '{"rules": [{"match": {"kind": ["manifest", "blob"]}, "action": {"headers": {"RateLimit-Limit": "54321;w=21600", "RateLimit-Remaining": "12345;w=21600"}}}]}'
    bounded 30 "$DRAY" pull -v "$HOSTILE/demo"
    expect 0
    says 12345
    says 54321
}

@test "--limit-rate bounds all connections together, and smoothly" {
    local start took fullest
    serve large
    play '{"rules": [{"match": {"kind": "blob", "blob": "layer"}, "action": {"piece": 16384}}]}'
    start=${EPOCHREALTIME/./}
    # 40 MB at 20 MB/s; the rest of the large layer is not waited for
    pull_start --limit-rate 20M -j 8 "$HOSTILE/demo"
    wait_until 30 eval 'progress_beyond 40000000 || ! kill -0 $PID'
    took=$((${EPOCHREALTIME/./} - start))
    pull_killed
    at_least "$took" 1600000 "microseconds for 40 MB"
    fullest=$(hostile_stats | jq '.seconds | to_entries | sort_by(.key) | .[1:] | map(.value) | max // 0')
    at_most "$fullest" 42000000 "bytes in one second"
}

@test "--max-connections-per-host bounds what a server serves at once" {
    serve mixed
    play "$(capped 20000000)"
    bounded 90 "$DRAY" pull -q -j 8 --max-connections-per-host 2 "$HOSTILE/demo"
    expect 0
    check_store
    at_most "$(hostile_requests | jq -s "$AT_ONCE")" 2 "requests at once"
    at_least "$(blobs "$AT_ONCE")" 2 "requests at once"
}

# ----- disk and fairness -----

@test "a burst of refusals on all connections at once is one failure" {
    serve large
    play '{"rules": [{"match": {"kind": "blob", "blob": "layer:0", "skip": 1, "times": 7}, "action": {"delay": 0.3, "status": 503}},
        {"match": {"kind": "blob", "blob": "layer:0"}, "action": {"rate": 40000000}}]}'
    bounded 60 "$DRAY" pull -q -j 8 --retries 2 "$HOSTILE/demo"
    expect 0
    check_store
}

@test "one odd answer to a request for a part does not end ranges" {
    serve medium
    play '{"rules": [{"match": {"kind": "blob", "blob": "layer:0", "nth": 4}, "action": {"status": 416}},
        {"match": {"kind": "blob", "blob": "layer:0"}, "action": {"rate": 8000000}}]}'
    bounded 60 "$DRAY" pull -q -j 4 "$HOSTILE/demo"
    expect 0
    check_store
    at_most "$(sent)" $((32 * MiB * 101 / 100 + 2 * MiB)) "bytes sent"
}

# cpu_of SECONDS COMMAND...: bounded, and sets CPU_MS to the CPU time it used. It is held against that of
# another pull: what is much depends on the machine and on sanitizers.
cpu_of() {
    bounded "$1" bash -c 'TIMEFORMAT="%U %S"; time "$@"' - "${@:2}"
    CPU_MS=$(tail -n 1 <<< "$stderr" | awk '{ printf "%d", ($1 + $2) * 1000 }')
}

@test "workers for whom a host has no slot free do not spin" {
    local all
    serve medium
    cpu_of 60 "$DRAY" pull -q -j 32 --max-connections-per-host 1 "$HOSTILE/demo"
    expect 0
    all=$CPU_MS
    rm -rf "$STORE"
    # the same takes four seconds
    play "$(capped 8000000)"
    cpu_of 60 "$DRAY" pull -q -j 32 --max-connections-per-host 1 "$HOSTILE/demo"
    expect 0
    check_store
    at_most "$CPU_MS" $((3 * all + 500)) "milliseconds of CPU, $all without waiting"
}

# memory_of SECONDS COMMAND...: bounded, and sets MEMORY_KIB to the most it had at once.
memory_of() {
    bounded "$1" python3 -c 'import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)' "${@:2}"
    MEMORY_KIB=$(tail -n 1 <<< "$stderr")
}

@test "memory does not grow with the image" {
    local small
    serve medium
    memory_of 60 "$DRAY" pull -q "$HOSTILE/demo"
    expect 0
    small=$MEMORY_KIB
    serve large larger
    memory_of 60 "$DRAY" pull -q "$HOSTILE/demo"
    expect 0
    check_store
    at_most "$MEMORY_KIB" $((small + 8192)) "KiB of memory for 300 MB, $small for 32 MiB"
}

@test "a registry that is not there fails every image at once, and without spinning" {
    local all
    serve pieces
    cpu_of 60 "$DRAY" pull -q "$HOSTILE/a" "$HOSTILE/b" "$HOSTILE/c" "$HOSTILE/d"
    expect 4
    all=$CPU_MS
    cpu_of 60 "$DRAY" pull -q --plain-http 127.0.0.1:1/a 127.0.0.1:1/b 127.0.0.1:1/c 127.0.0.1:1/d
    expect 1
    at_most "$CPU_MS" $((3 * all + 500)) "milliseconds of CPU, $all where it is there and has none"
}

@test "a pull that waits for another process ends when it is told to" {
    local other
    serve large
    play "$(capped 3000000)"
    pull_start -j 2 "$HOSTILE/demo"
    other=$PID
    wait_until 20 progress_beyond 1000000
    pull_start -j 2 "$HOSTILE/demo"
    sleep 1
    kill -TERM "$PID"
    wait_until 5 bash -c "! kill -0 $PID 2> /dev/null"
    kill -TERM "$other"
    wait "$other" || true
}

@test "H-57 when there is no room for an image, no byte of it is asked for" {
    if ! unshare -m true 2> /dev/null; then skip "needs the right to mount a file system"; fi
    serve medium
    mkdir -p "$STORE"
    bounded 30 unshare -m bash -c 'mount -t tmpfs -o size=16m none "$1" && DRAY_STORE=$1/store exec "$2" pull "$3"' \
        bash "$STORE" "$DRAY" "$HOSTILE/demo"
    expect 7
    says "$STORE/store"
    [[ $(blobs 'map(select(.path | endswith("'"$(jq -r '.manifests[0].digest' "$BATS_FILE_TMPDIR/medium/index.json")"'") | not)) | length') -eq 0 ]] ||
        fail "$(blobs .)"
    [[ $stderr =~ 33[0-9]{6}|32.*MiB|33\.[0-9]+\ ?MB ]] || fail "does not say how much is needed"
}

# in_room SIZE SCRIPT: bounded, run by bash where a file system of that size is mounted; DRAY_STORE is in it.
in_room() {
    mkdir -p "$STORE"
    bounded 90 unshare -m bash -c 'mount -t tmpfs -o "size=$1" none "$2" && DRAY_STORE=$2/store exec bash -euc "$3" bash "$4" "$5" "$6"' \
        bash "$1" "$STORE" "$2" "$DRAY" "$HOSTILE/demo" "$E2E_DIR/../support/check_store.py"
}

# What these begin with: $1 is dray, $2 the image, $3 check_store.py. Wait until some of the layer is there.
HALF_WAY='half_way() { until [[ $(find "$DRAY_STORE/dray/staging" -name "*.part" -size +8M 2> /dev/null) ]]; do sleep 0.05; done; }'

@test "H-57 what a killed pull has reserved is room for the next one" {
    local jobs
    if ! unshare -m true 2> /dev/null; then skip "needs the right to mount a file system"; fi
    serve medium
    for jobs in 1 8; do
        in_room 48m "$HALF_WAY"'
            "$1" pull -q -j '"$jobs"' --limit-rate 12M "$2" &
            half_way
            kill -KILL $!
            wait $! || true
            "$1" pull -q "$2"
            python3 "$3" "$DRAY_STORE"'
        expect 0
    done
}

@test "H-57 what a pull has reserved is room for another one of the same image" {
    if ! unshare -m true 2> /dev/null; then skip "needs the right to mount a file system"; fi
    serve medium
    in_room 48m "$HALF_WAY"'
        "$1" pull -q --limit-rate 12M "$2" &
        half_way
        "$1" pull -q "$2"
        wait $!
        python3 "$3" "$DRAY_STORE"'
    expect 0
    at_most "$(sent)" $((32 * MiB * 101 / 100 + 2 * MiB)) "bytes sent"
}

@test "H-67 a large layer does not hold up a hundred small ones" {
    serve mixed
    play '{"rules": [{"match": {"kind": "blob", "blob": "layer:0"}, "action": {"rate": 4000000}}]}'
    bounded 90 "$DRAY" pull -q -j 8 "$HOSTILE/demo"
    expect 0
    check_store
    # the last small one has come before half of the time is over
    [[ $(blobs '(map(.time) | min) as $begin | (map(.time + .seconds) | max) as $finish
        | (map(select(.sent < 100000) | .time + .seconds) | max) < ($begin + $finish) / 2') == true ]] ||
        fail "$(blobs 'map([.time, .seconds, .sent]) | map(select(.[1] > 1))')"
}
