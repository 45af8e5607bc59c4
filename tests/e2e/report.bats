# What dray pull tells about itself: --report, the summary of -v, and whether --limit-rate holds.

setup_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    registry_start plain
    compose --push "$REGISTRY" small fleet/00 fleet/01
    nginx_start --name slow --blobs "$REGISTRY_DIR" --extra 'limit_rate 4m;'
}

teardown_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    stop_all
}

setup() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    server_use registry
    server_use slow
    STORE=$BATS_TEST_TMPDIR/store
    REPORT=$BATS_TEST_TMPDIR/report.json
}

teardown() { hostile_stop; }

# check_report: it keeps to its schema, and its numbers agree.
check_report() { python3 "$E2E_DIR/../support/check_report.py" "$REPORT"; }

# reports FILTER: it holds of the report.
reports() { jq -e "$1" "$REPORT" > /dev/null || fail "not so: $1 in $(jq -c . "$REPORT")"; }

@test "the report of a new image has every blob and where it came from" {
    run --separate-stderr dray pull --report "$REPORT" "$REGISTRY/small"
    expect 0
    check_report
    reports '.images[0].status == "new" and (.images | length) == 1'
    reports ".images[0].reference == \"$REGISTRY/small:latest\""
    reports ".images[0].digest == \"$(layout_digest small)\""
    reports '.totals.blobs.fetched == 4 and ([.blobs[] | select(.role == "config")] | length) == 1'
    # two connections may bring the same bytes towards the end of a blob
    reports '.images[0].bytes == ([.blobs[].bytes] | add) and .totals.received_bytes >= .images[0].bytes'
    reports 'all(.blobs[].endpoints[]; .endpoint == "'"http://$REGISTRY"'")'
    reports '.seconds > 0 and .totals.rate > 0'
}

@test "the report counts what an endpoint has answered" {
    dray pull -q --report "$REPORT" "$REGISTRY/small"
    check_report
    reports '[.endpoints[] | select(.endpoint == "'"http://$REGISTRY"'")] | length == 1'
    reports '.endpoints[] | select(.bytes > 0) | .reachable and .ranges and .failures == 0 and .requests >= 4'
    reports '([.endpoints[].bytes] | add) >= .totals.received_bytes'
}

@test "an unchanged image is reported without blobs" {
    dray pull -q "$REGISTRY/small"
    run --separate-stderr dray pull --report "$REPORT" "$REGISTRY/small"
    expect 0
    check_report
    reports '.images[0].status == "unchanged" and .blobs == [] and .totals.received_bytes == 0'
}

@test "a blob that was there is present, one of two images counts once" {
    dray pull -q "$REGISTRY/fleet/00"
    run --separate-stderr dray pull --report "$REPORT" "$REGISTRY/fleet/01" "$REGISTRY/small"
    expect 0
    check_report
    reports 'any(.blobs[]; .status == "present") and .totals.present_bytes > 0'
    run --separate-stderr dray pull --store "$STORE.2" --report "$REPORT" "$REGISTRY/fleet/00" "$REGISTRY/fleet/01"
    expect 0
    check_report
    reports '([.blobs[].digest] | unique | length) == .totals.blobs.fetched'
    reports '([.blobs[] | {digest, bytes}] | unique | map(.bytes) | add) <= .totals.received_bytes'
}

@test "failed images are reported with their error, and the others all the same" {
    run --separate-stderr dray pull --report "$REPORT" "$REGISTRY/nosuch" "$REGISTRY/small"
    expect 3
    check_report
    reports '.images[0].status == "failed" and .images[0].error.code == "not found"'
    reports '.images[1].status == "new" and .totals.images == {"new": 1, "unchanged": 0, "failed": 1}'
}

@test "a failed blob is reported with its error and its retries" {
    hostile_start h29-storm-always
    run --separate-stderr dray pull --plain-http --retries 1 --report "$REPORT" "$HOSTILE/demo"
    expect 1
    check_report
    reports '.images[0].status == "failed"'
    reports 'any(.blobs[]; .status == "failed" and .retries == 1 and .error.text != "")'
}

@test "an interrupted pull is reported, and the next one reports what it resumed" {
    local pid first=0
    # bash has its background jobs ignore the signal
    env --default-signal=INT DRAY_STORE="$STORE" "$DRAY" pull -q --report "$REPORT" "$NGINX/small" 2> "$BATS_TEST_TMPDIR/err" 3>&- &
    pid=$!
    wait_until 10 eval '[[ $(du -sb "$STORE/dray/staging" 2> /dev/null | cut -f1) -gt 3000000 ]]'
    [[ ! -e $REPORT ]] || fail "the report is there before the end"
    kill -INT "$pid"
    wait "$pid" || first=$?
    [[ $first -eq 130 ]] || fail "status $first: $(cat "$BATS_TEST_TMPDIR/err")"
    check_report
    reports '.images[0].status == "failed" and .images[0].error.code == "canceled"'
    reports 'any(.blobs[]; .status == "unfinished" or .status == "failed")'
    run --separate-stderr dray pull --report "$REPORT" "$REGISTRY/small"
    expect 0
    check_report
    reports '.totals.resumed_bytes > 0 and .totals.received_bytes < .images[0].bytes'
    reports '.totals.resumed_bytes + .totals.received_bytes + .totals.present_bytes >= .images[0].bytes'
    [[ $(find "$BATS_TEST_TMPDIR" -maxdepth 1 -name '.dray*') == "" ]] || fail "something was left behind"
}

@test "a blob whose every byte was there already is reported without a request" {
    local digest layer
    digest=$(layout_digest small)
    layer=$(jq -r '.layers[0].digest' "$DRAY_IMAGES/small/blobs/${digest/://}")
    # as a process leaves it that dies before it gives the blob its name
    mkdir -p "$STORE/dray/staging"
    cp "$DRAY_IMAGES/small/blobs/${layer/://}" "$STORE/dray/staging/${layer/:/-}.part"
    chmod 600 "$STORE/dray/staging/${layer/:/-}.part"
    run --separate-stderr dray pull --report "$REPORT" "$REGISTRY/small"
    expect 0
    check_report
    check_store
    reports '.blobs[] | select(.digest == "'"$layer"'") | .status == "fetched" and .resumed == .bytes and .requests == 0'
}

# in_flight SCENARIO BYTES: start a pull by four workers of four layers, and wait until each was asked for
# and so many bytes were sent. Sets PID.
in_flight() {
    hostile_start - --synthetic demo:4:16Mi --send-buffer 65536
    hostile_scenario "$1" > "$BATS_TEST_TMPDIR/admin"
    # bash has its background jobs ignore the signal
    env --default-signal=INT DRAY_STORE="$STORE" "$DRAY" pull -q -j 4 --plain-http --report "$REPORT" "$HOSTILE/demo" \
        2> "$BATS_TEST_TMPDIR/err" 3>&- &
    PID=$!
    wait_until 30 asked_and_sent "$2" ||
        fail "not in flight: $(hostile_stats) $(cat "$BATS_TEST_TMPDIR/err")"
}

# asked_and_sent BYTES: four layers were asked for, and so many bytes were sent.
asked_and_sent() {
    hostile_stats | jq -e --argjson least "$1" '([.rules[].applied] | add) >= 4 and ([.seconds[]] | add) > $least' > /dev/null
}

# ends STATUS: the pull that is in flight.
ends() {
    local ended=0
    wait "$PID" || ended=$?
    [[ $ended -eq $1 ]] || fail "status $ended: $(cat "$BATS_TEST_TMPDIR/err")"
}

# reports_begun LAYERS: every layer that the server has sent anything of, at least so many, has its figures
# in the report, and they are what the server has sent but for what was on its way.
reports_begun() {
    local begun
    begun=$(hostile_requests | jq -cs 'map(select(.kind == "blob" and .rule == "layer" and .sent > 0)
        | {digest: (.path | split("/") | last), sent}) | group_by(.digest) | map({digest: .[0].digest, sent: (map(.sent) | add)})')
    [[ $(jq length <<< "$begun") -ge $1 ]] || fail "begun: $begun"
    jq -e --argjson begun "$begun" '. as $report | $begun | all(. as $layer | $report.blobs | any(.digest == $layer.digest
        and (.endpoints | length) == 1 and .requests >= 1 and .received > 0 and .received <= $layer.sent))' "$REPORT" > /dev/null ||
        fail "not told: $begun in $(jq -c .blobs "$REPORT")"
    jq -e --argjson begun "$begun" '([.blobs[] | select(.role == "layer") | .received] | add) >= 0.8 * ([$begun[].sent] | add)' \
        "$REPORT" > /dev/null || fail "less than was sent: $begun in $(jq -c .blobs "$REPORT")"
}

LAYERS_CAPPED='{"id": "layer", "match": {"kind": "blob", "blob": "layer"}, "action": {"rate": 2000000}}'

@test "an interrupted pull reports every blob that was begun, where it came from, and what did" {
    in_flight "{\"rules\": [$LAYERS_CAPPED]}" 8000000
    kill -INT "$PID"
    ends 130
    check_report
    reports 'all(.blobs[] | select(.role == "layer"); .status == "unfinished" or .status == "failed")'
    reports_begun 4
}

@test "when one layer is not there, what had come of the others is reported" {
    in_flight '{"rules": [{"match": {"kind": "blob", "blob": "layer:1"}, "action": {"delay": 3, "status": 404}}, '"$LAYERS_CAPPED]}" 2000000
    ends 4
    check_report
    reports '[.blobs[] | select(.status == "failed")] | length == 1 and .[0].error.code == "not found"'
    reports_begun 3
}

@test "a report that cannot be written is refused before anything is pulled" {
    for path in "$BATS_TEST_TMPDIR/nosuch/report.json" "$BATS_TEST_TMPDIR"; do
        run --separate-stderr dray pull --report "$path" "$REGISTRY/small"
        expect 1
        says "cannot write $path"
        [[ ! -e $STORE ]] || fail "something was pulled"
    done
    run --separate-stderr dray pull --report - "$REGISTRY/small"
    expect 2
    says "--report takes a file"
}

@test "a report that is lost at the end is a failure, but the image is there" {
    run --separate-stderr dray pull --report /dev/full "$REGISTRY/small"
    expect 1
    prints new
    says "cannot write /dev/full: No space left on device"
    check_store
    run --separate-stderr dray pull --progress json --report /dev/full "$REGISTRY/small"
    expect 1
    jq -es 'any(.event == "log" and .level == "error")' <<< "$stderr" > /dev/null || fail "not told as JSON"
}

@test "a pull that cannot begin leaves an old report alone" {
    echo old > "$REPORT"
    run --separate-stderr dray pull --report "$REPORT" --cacert "$BATS_TEST_TMPDIR/nosuch" "$REGISTRY/small"
    [[ $status -ne 0 ]] || fail "it began"
    [[ $(cat "$REPORT") == old ]]
    [[ $(find "$BATS_TEST_TMPDIR" -maxdepth 1 -name '.dray*') == "" ]] || fail "something was left behind"
}

@test "-v sums up what came, by endpoint; without it nothing is said" {
    run --separate-stderr dray pull --log-level info "$REGISTRY/small"
    expect 0
    [[ $stderr =~ "dray: info: received 3"[2-9]\.[0-9]" MB in " ]] || fail "no summary"
    says "dray: info: http://$REGISTRY: "
    run --separate-stderr dray pull --store "$STORE.2" "$REGISTRY/small"
    expect 0
    says_not "received"
    run --separate-stderr dray pull --store "$STORE.3" -v --progress json "$REGISTRY/small"
    expect 0
    jq -es 'any(.event == "log" and (.text | test("^received [0-9.]+ MB in ")))' <<< "$stderr" > /dev/null || fail "not JSON"
}

@test "engine options are held to their ranges" {
    for arguments in '--limit-rate fast' '--limit-rate -1' '--limit-rate 1MB' '--limit-rate=' '--connections-per-blob 0' \
        '--connections-per-blob 257' '--max-connections-per-host 0' '--max-connections-per-host many'; do
        # shellcheck disable=SC2086
        run --separate-stderr dray pull $arguments "$REGISTRY/small"
        expect 2
        says "${arguments%%[ =]*} takes"
    done
    for arguments in '--limit-rate 0' '--limit-rate 1G' '--limit-rate 1.5Gi' '--limit-rate 900000000' \
        '--connections-per-blob 256 --max-connections-per-host 1'; do
        # shellcheck disable=SC2086
        run --separate-stderr dray pull --store "$STORE.$((++i))" $arguments "$REGISTRY/fleet/00"
        expect 0
    done
    DRAY_LIMIT_RATE=nonsense run --separate-stderr dray pull "$REGISTRY/small"
    expect 2
    says DRAY_LIMIT_RATE
}

@test "no more comes than --limit-rate allows, for all connections together, nor much less" {
    local start took bytes
    start=${EPOCHREALTIME/./}
    run --separate-stderr dray pull --limit-rate 10M --report "$REPORT" "$REGISTRY/small"
    took=$((${EPOCHREALTIME/./} - start))
    expect 0
    check_report
    bytes=$(jq .totals.received_bytes "$REPORT")
    # bytes / 10 is the ideal time in microseconds
    ((took >= bytes / 10 * 8 / 10)) || fail "$bytes bytes came in $took us"
    ((took <= bytes / 10 * 3)) || fail "$bytes bytes took $took us"
}

@test "a large blob comes over several connections, unless one is all it may have" {
    dray pull -q -j 4 --report "$REPORT" "$NGINX/small"
    check_report
    reports '[.blobs[].connections] | max > 1'
    STORE=$STORE.2
    dray pull -q -j 4 --connections-per-blob 1 --report "$REPORT" "$NGINX/small"
    check_report
    reports '[.blobs[].connections] | max == 1'
}

@test "a config file that is no regular file is refused at once" {
    mkfifo "$BATS_TEST_TMPDIR/fifo"
    for path in "$BATS_TEST_TMPDIR/fifo" "$BATS_TEST_TMPDIR"; do
        run --separate-stderr timeout 10 env DRAY_STORE="$STORE" "$DRAY" pull --config "$path" "$REGISTRY/small"
        expect 2
        says "config file $path"
    done
}

@test "a store behind a broken symbolic link says so" {
    ln -s nowhere "$BATS_TEST_TMPDIR/link"
    for command in "pull $REGISTRY/small" images; do
        # shellcheck disable=SC2086
        run --separate-stderr dray $command --store "$BATS_TEST_TMPDIR/link"
        expect 4
        says "a symbolic link to nothing"
    done
}

@test "too few open files are met with advice" {
    run --separate-stderr bash -c "ulimit -n 14; exec \"\$@\"" - env DRAY_STORE="$STORE" "$DRAY" pull "$REGISTRY/small"
    expect 1
    says "ulimit -n"
}
