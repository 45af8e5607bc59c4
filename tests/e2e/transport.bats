# What stands between dray and a registry: HTTP/2, proxies, dead addresses, clocks, other people's headers.
# Every case ends in a whole, verified image or in a clear error, within its time.

setup_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    local ca
    ca=$(servers_dir)/ca
    make_ca "$ca"
    hostile_start - --synthetic demo:3:300Ki
    hostile_start - --name h2 --synthetic demo:3:300Ki --tls-cert "$ca/server.crt" --tls-key "$ca/server.key" --http2
}

teardown_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    stop_all
}

setup() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    . "${BATS_TEST_DIRNAME}/outcomes.bash"
    server_use hostile
    CA=$(servers_dir)/ca
    STORE=$BATS_TEST_TMPDIR/store
}

# play SCENARIO: have the registry in use behave so, its counts zeroed.
play() {
    hostile_scenario "$1" > "$BATS_TEST_TMPDIR/admin"
    hostile_reset > "$BATS_TEST_TMPDIR/admin"
}

# bounded COMMAND...: run it, with an end.
bounded() { DRAY_STORE=$STORE run --separate-stderr timeout --kill-after 1 30 "$@"; }

@test "H-14 what a proxy on the way rewrites does no harm, and what it makes up is refused" {
    outcomes << 'END'
h14-added-headers 0
h14-content-type-blob 0
h14-content-type-manifest 0
h14-no-content-type 0
h14-login-page-manifest 1
h14-login-page-blob 1
h14-login-page-chunked 1 bytes
h14-login-redirect 1
h14-login-page-once [01]
END
}

@test "H-15 HTTP/2: GOAWAY, early or late, costs no more than another request" {
    server_use h2
    outcomes --cacert "$CA/ca.crt" << 'END'
h15-goaway-graceful 0
h15-goaway-mid-body 0
h15-goaway-disowned 0
h15-goaway-calm 0
h15-goaway-always 1
END
}

@test "H-15 HTTP/2: a stream that is reset is resumed" {
    server_use h2
    outcomes --cacert "$CA/ca.crt" << 'END'
h15-rst-stream 0
h15-rst-stream-no-error 0
h15-rst-stream-no-error-chunked 0
h15-rst-stream-refused 0
h15-rst-stream-http11 0
h15-headers-cut 0
h15-junk 0
h15-rst-stream-always 1
END
}

@test "H-15 HTTP/2: a stream that stalls is left, though the connection lives" {
    server_use h2
    outcomes --cacert "$CA/ca.crt" --timeout 500ms --retries 1 << 'END'
h03-stall-mid-body 0
h03-stall-before-headers 0
h03-stall-always 1 stall
END
}

# in_hosts "ADDRESS NAME"... -- COMMAND...: run it where /etc/hosts says only this.
in_hosts() {
    while [[ $1 != -- ]]; do
        printf '%s\n' "$1"
        shift
    done > "$BATS_TEST_TMPDIR/hosts"
    shift
    bounded unshare -m bash -c 'mount --bind "$0" /etc/hosts && exec "$@"' "$BATS_TEST_TMPDIR/hosts" "$@"
}

@test "H-16 a name whose first address is dead or deaf is reached by its next one" {
    local port first deaf
    if ! unshare -m true 2> /dev/null; then skip "needs the right to mount a file system"; fi
    port=$(free_port)
    for first in ::1 127.0.0.2; do
        if [[ $first == *:* ]]; then deaf=[$first]:$port; else deaf=$first:$port; fi
        hostile_start - --name reached --listen "main=http://127.0.0.1:$port" --synthetic demo:3:100Ki
        in_hosts "$first two.test" '127.0.0.1 two.test' -- "$DRAY" pull --plain-http --connect-timeout 6s "two.test:$port/demo"
        hostile_stop reached
        expect 0
        check_store
        rm -rf "$STORE"
        hostile_start - --name reached --listen "main=http://127.0.0.1:$port" --listen "deaf=hole://$deaf" --synthetic demo:3:100Ki
        in_hosts "$first two.test" '127.0.0.1 two.test' -- "$DRAY" pull --plain-http --connect-timeout 2s "two.test:$port/demo"
        hostile_stop reached
        expect 0
        check_store
        rm -rf "$STORE"
    done
}

@test "H-16 a name that moves to another address in mid-pull is followed" {
    local port pid
    if ! unshare -m true 2> /dev/null; then skip "needs the right to mount a file system"; fi
    port=$(free_port)
    echo '127.0.0.2 moves.test' > "$BATS_TEST_TMPDIR/hosts"
    hostile_start - --name before --listen "main=http://127.0.0.2:$port" --synthetic demo:3:100Ki
    hostile_scenario '{"rules": [{"match": {"kind": "blob"}, "action": {"stall": 0.5}}]}' > "$BATS_TEST_TMPDIR/admin"
    DRAY_STORE=$STORE unshare -m bash -c 'mount --bind "$0" /etc/hosts && exec "$@"' "$BATS_TEST_TMPDIR/hosts" \
        timeout 30 "$DRAY" pull --plain-http --timeout 5s --retries 3 "moves.test:$port/demo" > "$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    pid=$!
    wait_until 20 bash -c ". '$BATS_TEST_DIRNAME/helpers.bash'; server_use before; hostile_stats | jq -e '.seconds | add > 100000'" > /dev/null
    echo '127.0.0.1 moves.test' > "$BATS_TEST_TMPDIR/hosts"
    hostile_start - --name after --listen "main=http://127.0.0.1:$port" --synthetic demo:3:100Ki
    hostile_stop before
    status=0
    wait "$pid" || status=$?
    hostile_stop after
    [[ $status -eq 0 ]] || fail "status $status: $(< "$BATS_TEST_TMPDIR/out")"
    check_store
}

@test "H-16 a name all of whose addresses are dead is named" {
    if ! unshare -m true 2> /dev/null; then skip "needs the right to mount a file system"; fi
    in_hosts '::1 two.test' '127.0.0.1 two.test' -- "$DRAY" pull --plain-http --retries 1 two.test:1/demo
    expect 1
    says two.test
    says efused
}

# early_certificate: a server certificate of the test CA whose time has not come: what a server's good
# one looks like where the clock is wrong. Sets nothing; leaves early.crt and early.key.
early_certificate() {
    local dir=$BATS_TEST_TMPDIR
    printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index\nserial=%s/serial\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=IP:127.0.0.1\n' \
        "$dir" "$dir" "$dir" > "$dir/ca.conf"
    : > "$dir/index"
    echo 01 > "$dir/serial"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout "$dir/early.key" -out "$dir/early.csr"
    openssl ca -batch -config "$dir/ca.conf" -cert "$CA/ca.crt" -keyfile "$CA/ca.key" -in "$dir/early.csr" -notext \
        -startdate 20980101000000Z -enddate 20990101000000Z -out "$dir/early.crt"
}

@test "H-18 a certificate from the future, as a wrong clock sees it, is refused and the reason told" {
    early_certificate > "$BATS_TEST_TMPDIR/openssl" 2>&1 || fail "$(cat "$BATS_TEST_TMPDIR/openssl")"
    hostile_start - --name early --tls-cert "$BATS_TEST_TMPDIR/early.crt" --tls-key "$BATS_TEST_TMPDIR/early.key"
    bounded "$DRAY" pull --cacert "$CA/ca.crt" "$HOSTILE/demo"
    hostile_stop early
    expect 1
    says "not yet valid"
}

@test "H-17 a server that negotiates TLS anew in mid-answer is followed" {
    local pid port program=$BATS_TEST_TMPDIR/tls_renegotiator
    cc -pthread -D_GNU_SOURCE -o "$program" "$E2E_DIR/../support/tls_renegotiator.c" -lssl -lcrypto
    hostile_start - --name behind --synthetic demo:3:300Ki
    "$program" "${HOSTILE##*:}" "$CA/server.crt" "$CA/server.key" > "$BATS_TEST_TMPDIR/front" 2>&1 3>&- &
    pid=$!
    wait_until 10 test -s "$BATS_TEST_TMPDIR/front" || true
    port=$(head -n 1 "$BATS_TEST_TMPDIR/front")
    bounded "$DRAY" pull --cacert "$CA/ca.crt" "127.0.0.1:$port/demo"
    kill "$pid"
    hostile_stop behind
    expect 0
    check_store
    grep -q renegotiated "$BATS_TEST_TMPDIR/front" || fail "nobody negotiated anew: $(< "$BATS_TEST_TMPDIR/front")"
}

@test "H-19 a proxy that wants to know who asks is told, or the user is" {
    local wants='{"match": {"listener": "plain", "lacks": ["proxy-authorization"]},
                  "action": {"status": 407, "headers": {"Proxy-Authenticate": "Basic realm=\"proxy\""}}}'
    play "{\"rules\": [$wants]}"
    http_proxy=http://$HOSTILE_PLAIN bounded "$DRAY" pull --plain-http registry.test/demo
    [[ $status -eq 1 || $status -eq 5 ]] || fail
    says 407
    http_proxy=http://someone:pass-secret@$HOSTILE_PLAIN bounded "$DRAY" pull --log-level debug --plain-http registry.test/demo
    expect 0
    says_not pass-secret
    check_store
    server_use h2
    play "{\"rules\": [${wants/'"match": {'/'"match": {"kind": "tunnel", '}]}"
    rm -rf "$STORE"
    https_proxy=http://$HOSTILE_PLAIN bounded "$DRAY" pull --retries 1 --cacert "$CA/ca.crt" "registry.test:${HOSTILE##*:}/demo"
    [[ $status -eq 1 || $status -eq 5 ]] || fail
    says proxy
    says 407
    https_proxy=http://someone:pass-secret@$HOSTILE_PLAIN \
        bounded "$DRAY" pull --log-level debug --cacert "$CA/ca.crt" "registry.test:${HOSTILE##*:}/demo"
    expect 0
    says_not pass-secret
    check_store
}

# tunnels: read "STATUS ACTION [TEXT]" lines; pull through a proxy that treats CONNECT so.
tunnels() {
    local want action text bad=0
    server_use h2
    while IFS=$'\t' read -r want action text; do
        STORE=$BATS_TEST_TMPDIR/store
        play "{\"rules\": [{\"match\": {\"kind\": \"tunnel\"${action#*|}}, \"action\": ${action%|*}}]}"
        https_proxy=http://$HOSTILE_PLAIN bounded "$DRAY" pull --quiet --log-level error --timeout 500ms --connect-timeout 1s \
            --retries 2 --cacert "$CA/ca.crt" "registry.test:${HOSTILE##*:}/demo"
        if [[ $status -ne $want || $stderr != *"$text"* ]]; then
            printf '%s: status %s, expected %s %s\n%s\n' "$action" "$status" "$want" "$text" "$stderr"
            bad=1
        fi
        if [[ -e $STORE/index.json ]]; then
            check_store $([[ $status -eq 0 ]] || echo --allow-no-tags) || bad=1
        fi
        rm -rf "$STORE"
    done
    return $bad
}

@test "H-19 a proxy that refuses to connect, dies or falls silent is named, or got over" {
    tunnels << 'END'
0	{"status": 200}|
1	{"status": 403}|	proxy
1	{"status": 502}|	proxy
1	{"status": 200, "close": "start"}|
1	{"status": 200, "close": 0}|
1	{"status": 200, "stall": 0}|
1	{"status": 200, "stall": "start"}|
1	{"status": 200, "close": 1000}|
0	{"status": 200, "close": 200000}|, "times": 1
0	{"status": 200, "rst": 200000}|, "times": 1
0	{"status": 200, "stall": 200000}|, "times": 1
END
    https_proxy=http://127.0.0.1:1 bounded "$DRAY" pull --retries 1 --cacert "$CA/ca.crt" "registry.test:${HOSTILE##*:}/demo"
    expect 1
    says 127.0.0.1
}

@test "H-31 headers that are folded, odd, or hold a NUL do no harm" {
    outcomes << 'END'
h31-folded 0
h31-high-bytes 0
h31-no-colon [01]
h31-nul [01]
h31-nul-once [01]
h31-junk-status [01]
END
}

@test "H-31 huge headers and ten thousand of them end in a pull or in a clear error" {
    jq -n '{rules: [{match: {kind: ["manifest", "blob"]}, action: {headers: {"X-Big": ("x" * 60000)}}}]}' > "$BATS_TEST_TMPDIR/60k"
    jq -n '{rules: [{match: {kind: ["manifest", "blob"]}, action: {headers: {"X-Big": ("x" * 800000)}}}]}' > "$BATS_TEST_TMPDIR/800k"
    jq -n '{rules: [{match: {kind: "blob"}, action: {headers: {"X-Big": [range(40) | "y" * 99000]}}}]}' > "$BATS_TEST_TMPDIR/4M"
    jq -n '{rules: [{match: {kind: ["manifest", "blob"]}, action: {raw_headers: [range(10000) | "X-\(.): y"]}}]}' > "$BATS_TEST_TMPDIR/10k-lines"
    jq -n '{rules: [{match: {kind: "manifest"}, action: {raw_headers: [range(10000) | "Content-Length: 5"]}}]}' > "$BATS_TEST_TMPDIR/10k-lengths"
    outcomes --retries 1 << 'END'
@60k 0
@800k 1
@4M [01]
@10k-lines [01]
@10k-lengths 1
END
}

@test "H-32 warnings of a registry do not keep an image from being pulled, and cannot paint the terminal" {
    outcomes << 'END'
h32-warning 0
h32-warning-junk 0
END
    play h32-warning-junk
    bounded "$DRAY" pull --log-level debug "$HOSTILE/demo"
    expect 0
    says_not $'\033'
}

@test "H-1 H-2 H-3 connections that end or fall silent before a byte of HTTP" {
    outcomes << 'END'
h01-close-on-connect [01]
h02-rst-on-connect [01]
END
    outcomes --timeout 10s <<< 'h03-stall-then-go-on 0'
    server_use h2
    outcomes --cacert "$CA/ca.crt" --retries 1 --connect-timeout 1s <<< 'h03-stall-in-handshake [01]'
}

@test "H-10 H-11 H-26 H-28 H-29 H-43 the milder kinds: one wrong answer, then right ones" {
    outcomes << 'END'
h10-later-end 0
h11-cut-at-end [01]
h26-404-blob-once [04]
h28-429-manifest 0
h29-storm-every-third 0
h43-flip-once [06]
END
}

@test "H-21 redirects to this machine by another of its names lead nowhere else" {
    outcomes << 'END'
h21-decimal [01]
h21-hex [01]
h21-octal [01]
h21-mapped-v6 [01]
h21-loopback-name [01]
h21-unspecified-v4 [01]
h21-unspecified-v6 [01]
h21-junk [14]
END
}

@test "H-20 H-22 TLS is not left on the word of a redirect or a challenge" {
    server_use h2
    outcomes --cacert "$CA/ca.crt" << 'END'
h20-scheme-downgrade 1
h22-http-realm [15]
END
    server_use hostile
    outcomes << 'END'
h22-unterminated [015]
h22-wrong-realm [15]
END
}

@test "H-28 a wait of a year in any notation is capped at a minute" {
    local scenario
    for scenario in h28-429-date-year h28-429-huge; do
        play "$scenario"
        DRAY_STORE=$STORE env --default-signal timeout --kill-after 1 30 "$DRAY" pull --progress json "$HOSTILE/demo" \
            2> "$BATS_TEST_TMPDIR/events" 3>&- &
        wait_until 20 grep -q blob-retry "$BATS_TEST_TMPDIR/events"
        kill -INT $!
        wait $! || true
        [[ $(jq -r 'select(.event == "blob-retry") | .delay_ms' "$BATS_TEST_TMPDIR/events" | sort -n | tail -1) -le 61000 ]] ||
            fail "$(cat "$BATS_TEST_TMPDIR/events")"
    done
}
