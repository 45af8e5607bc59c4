# Mirrors, as they and the upstream see it: who is asked first, together with whom, and what one that is
# dead, silent, slow, busy or lying costs. Figures come from the hostile registries' logs.

setup_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    . "${BATS_TEST_DIRNAME}/engine.bash"
    make_layout broad:1:100M
    make_layout medium:1:32Mi
    make_layout pieces:24:100Ki
}

teardown_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    stop_all
}

setup() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    . "${BATS_TEST_DIRNAME}/engine.bash"
    STORE=$BATS_TEST_TMPDIR/store
}

teardown() {
    stop_all
    rm -rf "$BATS_TEST_TMPDIR"
}

@test "a mirror that is dead once it has served the manifest costs one time-out, not one for each blob" {
    local gone
    for gone in refuse hole; do
        mirrored pieces "{\"rules\": [{\"match\": {\"kind\": \"manifest\"}, \"action\": {\"gone\": \"$gone\"}}]}"
        bounded 60 "$DRAY" pull -q -j 2 --connect-timeout 1s --timeout 5s "$MIRROR" "$UPSTREAM/demo"
        expect 0
        check_store
        # two workers, each with a SYN and perhaps another one a second later; a few more where the
        # pull takes so long that the mirror is probed again. 25 blobs would be as many attempts.
        [[ $gone == refuse ]] || at_least "$(hostile_stats | jq .unheard.main)" 1 "attempts to connect to the hole"
        at_most "$(hostile_stats | jq .unheard.main)" 12 "attempts to connect to the mirror that is gone"
        server_use upstream
        at_least "$(blobs length)" 25 "blobs from upstream"
        rm -rf "$STORE"
        stop_all
    done
}

@test "a mirror that accepts connections and never answers is left after one time-out for each worker" {
    mirrored pieces '{"rules": [{"match": {"kind": "blob"}, "action": {"stall": "start"}}]}'
    bounded 60 "$DRAY" pull -q -j 4 --timeout 1s "$MIRROR" "$UPSTREAM/demo"
    expect 0
    check_store
    at_most "$(blobs length)" 10 "requests that the mirror left unanswered"
}

@test "a mirror that dies in the middle of a blob: the rest comes from upstream, and only the rest" {
    mirrored medium '{"rules": [{"match": {"kind": "blob", "blob": "layer", "skip": 2}, "action": {"rate": 8000000, "close": 0.5, "gone": "refuse"}},
                                {"match": {"kind": "blob"}, "action": {"rate": 8000000}}]}'
    bounded 60 "$DRAY" pull -q -j 4 "$MIRROR" "$UPSTREAM/demo"
    expect 0
    check_store
    local mirror
    mirror=$(sent)
    server_use upstream
    at_least "$(sent)" 1 "bytes from upstream"
    at_most $((mirror + $(sent))) $((32 * MiB * 101 / 100 + 4 * MiB)) "bytes sent"
}

@test "H-48 a mirror whose bytes are wrong is found out, healed from another and named" {
    mirrored medium '{"rules": [{"match": {"kind": "blob", "blob": "layer"}, "action": {"flip": 0.5}}]}'
    bounded 60 "$DRAY" pull --report "$BATS_TEST_TMPDIR/report" "$MIRROR" "$UPSTREAM/demo"
    expect 0
    check_store
    says "$HOSTILE"
    [[ $(jq -r '.endpoints[] | select(.wrong_blobs > 0) | .endpoint' "$BATS_TEST_TMPDIR/report") == "$HOSTILE_URL" ]] ||
        fail "$(cat "$BATS_TEST_TMPDIR/report")"
    [[ $(jq '[.blobs[].endpoints[] | select(.wrong_bytes)] | length' "$BATS_TEST_TMPDIR/report") -eq 1 ]] ||
        fail "$(cat "$BATS_TEST_TMPDIR/report")"
}

@test "two mirrors each bring parts of one large blob" {
    local upstream first
    serve broad upstream
    upstream=$HOSTILE
    serve broad first
    play "$(capped 4000000)"
    first=$HOSTILE_URL
    serve broad second
    play "$(capped 4000000)"
    bounded 90 "$DRAY" pull -q -j 8 --mirror "$upstream=$first" --mirror "$upstream=$HOSTILE_URL" "$upstream/demo"
    expect 0
    check_store
    at_least "$(sent)" $((8 * MiB)) "bytes from the second mirror"
    local second
    second=$(sent)
    server_use first
    at_least "$(sent)" $((8 * MiB)) "bytes from the first mirror"
    at_most $((second + $(sent))) $((100000000 * 101 / 100 + 2 * MiB)) "bytes sent"
}

@test "H-4 a mirror that drips does not hold up the pull" {
    mirrored medium '{"rules": [{"match": {"kind": "blob"}, "action": {"rate": 2000}}]}'
    bounded 25 "$DRAY" pull -q -j 4 "$MIRROR" "$UPSTREAM/demo"
    expect 0
    check_store
}

@test "H-28 one mirror's wait of a year sends the work to the other" {
    mirrored medium '{"rules": [{"match": {"kind": "blob"}, "action": {"status": 429, "headers": {"Retry-After": "31536000"}}}]}'
    bounded 40 "$DRAY" pull -v -j 4 "$MIRROR" "$UPSTREAM/demo"
    expect 0
    check_store
    says 429
    at_most "$(blobs length)" 12 "requests to the one that refuses"
}

@test "two endpoints that fall silent do not hold the pull for ever" {
    mirrored medium '{"rules": [{"match": {"kind": "blob"}, "action": {"stall": "start"}}]}'
    server_use upstream
    play '{"rules": [{"match": {"kind": "blob"}, "action": {"stall": "start"}}]}'
    bounded 60 "$DRAY" pull -q -j 4 --timeout 3s --retries 0 "$MIRROR" "$UPSTREAM/demo"
    expect 1
    says stalled
}

@test "--limit-rate is not taken for a slow mirror" {
    mirrored medium '{"rules": []}'
    bounded 60 "$DRAY" pull -q -j 4 --limit-rate 8M "$MIRROR" "$UPSTREAM/demo"
    expect 0
    server_use upstream
    at_most "$(sent)" 0 "bytes from the upstream"
}

@test "a mirror that says nothing at all costs one time-out" {
    mirrored pieces '{"rules": [{"match": {}, "action": {"stall": "start"}}]}'
    bounded 60 "$DRAY" pull -q -j 4 --parallel-images 1 --timeout 2s "$MIRROR" \
        "$UPSTREAM/demo" "$UPSTREAM/demo@$(jq -r '.manifests[0].digest' "$BATS_FILE_TMPDIR/pieces/index.json")"
    expect 0
    check_store
    at_most "$(hostile_requests | jq -s length)" 1 "requests that the mirror left unanswered"
}

@test "a mirror that leaves blobs unanswered is left for all blobs, long before the time-out" {
    mirrored pieces '{"rules": [{"match": {"kind": "blob"}, "action": {"stall": "start"}}]}'
    bounded 50 "$DRAY" pull -q -j 4 --timeout 60s "$MIRROR" "$UPSTREAM/demo"
    expect 0
    check_store
    # four workers meet it; each of 25 blobs met it, if nobody remembered
    at_most "$(blobs length)" 12 "requests that the mirror left unanswered"
}

@test "a part that stalls near its end is brought by another, long before the time-out" {
    serve medium
    play '{"rules": [{"match": {"kind": "blob", "blob": "layer", "skip": 2, "times": 1}, "action": {"rate": 4000000, "stall": 0.95}},
                     {"match": {"kind": "blob"}, "action": {"rate": 4000000}}]}'
    bounded 30 "$DRAY" pull -q -j 4 --timeout 60s "$HOSTILE/demo"
    expect 0
    check_store
}

@test "a mirror without ranges does not keep the others from working together" {
    local upstream good
    serve medium upstream
    upstream=$HOSTILE
    serve medium good
    play "$(capped 4000000)"
    good=$HOSTILE_URL
    serve medium whole
    play '{"rules": [{"match": {"kind": "blob"}, "action": {"ignore_range": true, "rate": 4000000}}]}'
    bounded 60 "$DRAY" pull -q -j 4 --mirror "$upstream=$good" --mirror "$upstream=$HOSTILE_URL" "$upstream/demo"
    expect 0
    check_store
    at_most "$(blobs length)" 3 "requests to the mirror without ranges"
    server_use good
    at_least "$(blobs "$AT_ONCE")" 3 "requests at once to the other one"
}

@test "a busy upstream is not given up because of a mirror that died" {
    mirrored pieces '{"rules": [{"match": {"kind": "manifest"}, "action": {"gone": "refuse"}}]}'
    server_use upstream
    play '{"rules": [{"match": {"kind": "blob", "times": 4}, "action": {"status": 503, "headers": {"Retry-After": "6"}}}]}'
    bounded 60 "$DRAY" pull -q -j 4 "$MIRROR" "$UPSTREAM/demo"
    expect 0
    check_store
}
