# Pulls from the hostile registry: every case ends in a whole, verified image or in a clear error
# with the right exit status, within its time, and never leaves a wrong blob to be seen.

setup_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    # Three layers of 300 KiB: enough for chunks and ranges, quick to serve.
    hostile_start - --synthetic demo:3:300Ki
}

teardown_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    stop_all
}

setup() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    . "${BATS_TEST_DIRNAME}/outcomes.bash"
    server_use hostile
}

# new_requests: what the hostile registry has seen since mark_requests.
mark_requests() { hostile_requests | wc -l > "$BATS_TEST_TMPDIR/mark"; }
new_requests() { hostile_requests | tail -n +$(($(cat "$BATS_TEST_TMPDIR/mark") + 1)); }

@test "H-1 a connection closed at any byte is resumed" {
    outcomes << 'END'
h01-close-at-0 0
h01-close-at-1 0
h01-close-at-chunk-edge 0
h01-close-at-half 0
h01-close-at-last-byte 0
h01-close-before-headers 0
h01-close-in-headers 0
h01-close-manifest 0
h01-close-always 1 blobs/sha256
END
}

@test "H-2 a reset in mid-body is resumed" {
    outcomes << 'END'
h02-rst-mid-body 0
h02-rst-after-headers 0
h02-rst-before-headers 0
END
}

@test "H-3 H-4 a stalled or dripping server is left, and the pull goes on or says so" {
    outcomes << 'END'
h03-stall-mid-body 0
h03-stall-after-headers 0
h03-stall-before-headers 0
h03-stall-in-headers 0
h04-drip 0
h04-drip-headers-late 0
END
    outcomes --retries 1 << 'END'
h03-stall-always 1 stall
h04-drip-always 1 stall
END
}

# What comes after the blob's last byte is refused; the blob itself is right.
@test "H-5 more bytes than promised are refused" {
    outcomes << 'END'
h05-more-than-content-length 0
h05-more-than-descriptor 1 bytes
h05-more-than-descriptor-chunked 0
h05-config-more-than-descriptor 1 bytes
END
}

@test "H-6 H-7 H-8 lengths that are missing, short or wrong" {
    outcomes << 'END'
h06-less-than-content-length 0
h06-less-than-content-length-stall 0
h06-less-than-descriptor 1 bytes
h06-empty 1 bytes
h07-chunked 0
h07-chunked-cut 0
h07-until-close 0
h07-until-close-cut 0
h08-head-length-wrong 0
h08-length-too-big 1 bytes
h08-length-too-small 1 bytes
h08-length-negative 1
h08-length-junk 1
h08-length-huge 1
h08-length-two 1
END
}

@test "H-9 H-10 H-11 H-12 ranges that are ignored, moved, cut or of other content" {
    outcomes << 'END'
h09-200-to-range 0
h09-206-without-range 1
h10-early-start 0
h10-header-lies 0
h10-junk-content-range 0
h10-multipart 0
h10-no-content-range 0
h10-other-end 0
h10-other-start 0
h10-other-total 0
h10-star-total 0
h10-two-content-ranges 0
h11-416-always 0
h11-416-at-end 0
h12-content-changes 0
h12-content-changes-once 0
h12-etag-changes 0
END
}

@test "H-13 a body that somebody compressed on the way is refused" {
    outcomes << 'END'
h13-gzip-encoding 1 Content-Encoding
h13-gzip-encoding-claimed 1 Content-Encoding
END
}

@test "H-20 redirects are followed, up to ten" {
    outcomes << 'END'
h20-301-other-origin 0
h20-302-other-origin 0
h20-303-other-origin 0
h20-307-other-origin 0
h20-308-other-origin 0
h20-chain-1 0
h20-chain-10 0
h20-chain-11 1 redirects
h20-loop 1 redirects
h20-loop-of-two 1 redirects
h20-manifest 0
h20-missing-location 1 Location
h20-relative-dots 0
h20-relative-path 0
h20-relative-scheme 0
h20-location-elsewhere-404 4 404
END
}

@test "H-21 redirects to where nobody should go are refused without a word to them" {
    outcomes << 'END'
h21-control-bytes 1 redirect
h21-file 1 redirect
h21-gopher 1 redirect
h21-userinfo 1 redirect
h21-link-local 1 redirect
h21-loopback 0
END
}

@test "H-22 H-23 challenges of every shape, and token servers that are none" {
    outcomes << 'END'
h22-basic-after-bearer 0
h22-no-scope 0
h22-no-service 0
h22-odd-case-and-space 0
h22-open-ping 0
h22-other-host-realm 0
h22-other-scope 0
h22-quoted-commas 0
h22-several-in-one-line 0
h22-several-lines 0
h22-token-503 0
h22-token-redirect 0
h22-file-realm 1 token
h22-junk-realm 1 token
h22-userinfo-realm 1 token
h22-relative-realm 1 token
h22-token-junk 1 token
h22-link-local-realm 1 token
h22-no-realm 5 401
h22-none 5 401
h22-unknown-scheme 5 401
h23-401-after-token-once 0
h23-401-after-token 5 401
END
}

@test "H-24 H-30 an expired token, or signed URL, is renewed once" {
    outcomes << 'END'
h24-400-expired 0
h24-400-short-lived 0
h24-presigned-expired 0
END
}

@test "H-25 H-26 H-27 forbidden, missing, and HEAD refused" {
    outcomes << 'END'
h25-403-blob 5 403
h25-403-html 5 403
h25-403-manifest 5 403
h26-404-blob 4 404
h26-404-config 4 404
h26-404-manifest 4 404
h27-405-head 0
h27-404-head 0
END
}

@test "H-28 H-29 too many requests and storms are waited out" {
    outcomes << 'END'
h28-429-date 0
h28-429-junk 0
h28-429-missing 0
h28-429-negative 0
h28-429-past 0
h28-429-seconds 0
h28-429-zero 0
h29-storm-500-502-504 0
END
    outcomes --retries 1 << 'END'
h28-429-always 1 429
h29-storm-always 1 503
END
}

@test "H-28 a wait of a year is cut short, and Ctrl-C ends it at once" {
    local pid took start
    STORE=$BATS_TEST_TMPDIR/store
    hostile_scenario h28-429-year > "$BATS_TEST_TMPDIR/admin"
    DRAY_STORE=$STORE env --default-signal "$DRAY" pull --progress json "$HOSTILE/demo" 2> "$BATS_TEST_TMPDIR/events" 3>&- &
    pid=$!
    wait_until 10 grep -q blob-retry "$BATS_TEST_TMPDIR/events"
    [[ $(jq -r 'select(.event == "blob-retry") | .delay_ms' "$BATS_TEST_TMPDIR/events" | sort -n | tail -1) -le 61000 ]]
    start=${EPOCHREALTIME/./}
    kill -INT "$pid"
    wait "$pid" && status=0 || status=$?
    took=$((${EPOCHREALTIME/./} - start))
    expect 130
    ((took < 3000000)) || fail "took $took us"
}

# One second is the promise; the rest is for a busy machine and for sanitizers. A stall lasts 30.
@test "Ctrl-C ends a pull from a server that stalls for ever, in each phase, at once" {
    local pid took start
    for scenario in h03-stall-manifest h03-stall-always; do
        STORE=$BATS_TEST_TMPDIR/$scenario
        hostile_scenario "$scenario" > "$BATS_TEST_TMPDIR/admin"
        DRAY_STORE=$STORE env --default-signal "$DRAY" pull "$HOSTILE/demo" 2> "$BATS_TEST_TMPDIR/err" 3>&- &
        pid=$!
        wait_until 10 grep -q "resolving at http:" "$BATS_TEST_TMPDIR/err"
        sleep 0.3
        start=${EPOCHREALTIME/./}
        kill -INT "$pid"
        wait "$pid" && status=0 || status=$?
        took=$((${EPOCHREALTIME/./} - start))
        expect 130
        ((took < 3000000)) || fail "$scenario: took $took us"
    done
}

@test "H-43 H-46 a flipped bit anywhere, or another blob, fails verification" {
    outcomes << 'END'
h43-flip-first 6 expected sha256
h43-flip-middle 6 expected sha256
h43-flip-last 6 expected sha256
h46-other-blob 6 expected sha256
h46-wrong-digest-header 6 digest
h46-no-digest-header 0
END
}

@test "H-48 wrong bytes from a mirror are healed from the registry" {
    local upstream=$HOSTILE
    STORE=$BATS_TEST_TMPDIR/store
    hostile_scenario '{"rules": []}' > "$BATS_TEST_TMPDIR/admin"
    hostile_start h43-flip-middle --name mirror --synthetic demo:3:300Ki
    run --separate-stderr dray pull -v --mirror "$upstream=$HOSTILE_URL" "$upstream/demo"
    hostile_stop mirror
    server_use hostile
    expect 0
    check_store
}

@test "a server that ignores ranges and always breaks off is given up after the retries" {
    STORE=$BATS_TEST_TMPDIR/store
    hostile_start - --name breaking --synthetic demo:1:3Mi
    hostile_scenario '{"rules": [{"match": {"kind": "blob", "blob": "layer"}, "action": {"ignore_range": true, "close": 0.9}}]}' \
        > "$BATS_TEST_TMPDIR/admin"
    DRAY_STORE=$STORE run --separate-stderr timeout 30 "$DRAY" pull --retries 2 "$HOSTILE/demo"
    hostile_requests | jq -s 'map(select(.kind == "blob" and .rule != null)) | length' > "$BATS_TEST_TMPDIR/count"
    hostile_stop breaking
    expect 1
    [[ $(cat "$BATS_TEST_TMPDIR/count") -le 4 ]] || fail "$(cat "$BATS_TEST_TMPDIR/count") requests"
}

@test "what one endpoint brought is kept when it refuses the rest: the next endpoint sends only that" {
    local upstream=$HOSTILE
    STORE=$BATS_TEST_TMPDIR/store
    hostile_scenario '{"rules": []}' > "$BATS_TEST_TMPDIR/admin"
    hostile_reset > "$BATS_TEST_TMPDIR/admin"
    mark_requests
    hostile_start - --name mirror --synthetic demo:3:300Ki
    hostile_scenario '{"rules": [
        {"match": {"kind": "blob", "blob": "layer:0", "times": 1}, "action": {"close": 0.5}},
        {"match": {"kind": "blob", "blob": "layer:0"}, "action": {"status": 410}}]}' > "$BATS_TEST_TMPDIR/admin"
    run --separate-stderr dray pull --mirror "$upstream=$HOSTILE_URL" "$upstream/demo"
    hostile_stop mirror
    server_use hostile
    expect 0
    check_store
    new_requests | jq -es 'map(select(.kind == "blob")) | length == 1 and (.[0].headers | has("range"))' > /dev/null ||
        fail "$(new_requests)"
}

@test "H-36 indexes that name the same children again and again are followed once" {
    local manifest
    STORE=$BATS_TEST_TMPDIR/store
    manifest=$(curl -sS -D - -o "$BATS_TEST_TMPDIR/manifest" "$HOSTILE_URL/v2/demo/manifests/latest" |
        sed -n 's/^docker-content-digest: *\([^[:space:]]*\).*/\1/Ip')
    python3 "$E2E_DIR/../support/nested_index.py" "$manifest" "$(stat -c %s "$BATS_TEST_TMPDIR/manifest")" \
        > "$BATS_TEST_TMPDIR/scenario.json"
    hostile_scenario "$BATS_TEST_TMPDIR/scenario.json" > "$BATS_TEST_TMPDIR/admin"
    hostile_reset > "$BATS_TEST_TMPDIR/admin"
    mark_requests
    DRAY_STORE=$STORE run --separate-stderr timeout 20 "$DRAY" pull --all-platforms "$HOSTILE/demo"
    expect 0
    check_store
    [[ $(new_requests | jq -s 'map(select(.kind == "manifest")) | length') -eq 4 ]] || fail "$(new_requests)"
}

@test "a registry that restarts in the middle of a pull is waited for" {
    local port pid
    STORE=$BATS_TEST_TMPDIR/store
    port=$(free_port)
    hostile_start - --name restarting --synthetic demo:1:8Mi --listen "main=http://127.0.0.1:$port"
    hostile_scenario '{"rules": [{"match": {"kind": "blob", "blob": "layer"}, "action": {"rate": 2097152}}]}' > "$BATS_TEST_TMPDIR/admin"
    DRAY_STORE=$STORE "$DRAY" pull -q --retries 30 "127.0.0.1:$port/demo" 2> "$BATS_TEST_TMPDIR/err" 3>&- &
    pid=$!
    wait_until 10 eval '[[ $(du -sb "$STORE/dray/staging" 2> /dev/null | cut -f1) -gt 1000000 ]]'
    hostile_stop restarting
    sleep 0.3
    hostile_start - --name restarting --synthetic demo:1:8Mi --listen "main=http://127.0.0.1:$port"
    wait "$pid" && status=0 || status=$?
    hostile_requests > "$BATS_TEST_TMPDIR/log"
    hostile_stop restarting
    [[ $status -eq 0 ]] || fail "$(cat "$BATS_TEST_TMPDIR/err")"
    check_store
    jq -es 'map(select(.kind == "blob" and (.headers | has("range")))) | length > 0' "$BATS_TEST_TMPDIR/log" > /dev/null ||
        fail "$(cat "$BATS_TEST_TMPDIR/log")"
}
