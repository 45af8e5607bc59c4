# The registries that the other tests run against, tested themselves: peers are curl, skopeo and openssl.

LAYER_BYTES=200000

setup_file() {
    export DRAY_TEST_DIR="$BATS_FILE_TMPDIR/a folder with spaces"
    mkdir "$DRAY_TEST_DIR"
    . "$BATS_TEST_DIRNAME/registry.bash"
    export LAYOUT="$DRAY_TEST_DIR/layout"
    python3 "$SUPPORT_DIR/hostile_registry.py" --synthetic "demo:3:$LAYER_BYTES" --write-layout "$LAYOUT"
    hostile_start - --synthetic "demo:3:$LAYER_BYTES"
    MANIFEST=$(curl -s "$HOSTILE_URL/v2/demo/manifests/latest")
    read -r CONFIG L0 L1 L2 <<< "$(grep -o 'sha256:[0-9a-f]*' <<< "$MANIFEST" | tr '\n' ' ')"
    export MANIFEST CONFIG L0 L1 L2
}

teardown_file() {
    . "$BATS_TEST_DIRNAME/registry.bash"
    stop_all
}

setup() {
    . "$BATS_TEST_DIRNAME/registry.bash"
    cd "$BATS_TEST_TMPDIR"
}

# is WHAT GOT WANTED
is() {
    if [[ $2 != "$3" ]]; then
        echo "$1: got '$2', wanted '$3'" >&2
        return 1
    fi
}

# fails COMMAND...: bats overlooks a failing `! command`
fails() { if "$@"; then return 1; fi; }

# play MATCH ACTION [AUTH]: a scenario of one rule.
play() {
    hostile_scenario "{\"auth\": ${3-{\}}, \"rules\": [{\"match\": $1, \"action\": $2}]}" > /dev/null
}

# get PATH [CURL_OPTION]...: sets RC (curl's), CODE (HTTP's), SIZE (bytes received); files body and head.
get() {
    local out
    rm -f body head
    out=$(curl -s --max-time 1 -o body -D head -w '%{http_code} %{size_download}' "${@:2}" "$HOSTILE_URL/v2/demo/$1") && RC=0 || RC=$?
    read -r CODE SIZE <<< "$out"
}

# header NAME: its values in the last answer, one a line.
header() { tr -d '\r' < head | sed -n "s/^$1: //Ip"; }

# digest [FILE]: what body hashes to.
digest() { printf 'sha256:%s\n' "$(sha256sum "${1:-body}" | cut -d ' ' -f 1)"; }

# layer: the true bytes of layer 0, as a path.
layer() { printf '%s\n' "$LAYOUT/blobs/sha256/${L0#*:}"; }

gone() { ! kill -0 "$1" 2> /dev/null; }

# log_last KEY: from the newest entry of the request log.
log_last() {
    hostile_requests | tail -n 1 | python3 -c 'import json, sys; print(json.loads(sys.stdin.read())[sys.argv[1]])' "$1"
}

pull_with_skopeo() { # REGISTRY [SKOPEO_OPTION]...
    rm -rf pulled
    skopeo --insecure-policy copy --quiet "${@:2}" "docker://$1/team/demo:v1" oci:pulled:v1
    cmp "$(layer)" "pulled/blobs/sha256/${L0#*:}"
}

# ----- real registries -----

@test "a plain registry starts, serves what was pushed, and stops" {
    registry_start plain here
    push_image "$LAYOUT:latest" "$REGISTRY/team/demo:v1"
    pull_with_skopeo "$REGISTRY" --src-tls-verify=false
    registry_stop here
    gone "$REGISTRY_PID"
    fails curl -s "$REGISTRY_URL/v2/"
}

@test "a TLS registry is trusted by its CA only" {
    registry_start tls here
    push_image "$LAYOUT:latest" "$REGISTRY/team/demo:v1"
    pull_with_skopeo "$REGISTRY" --src-cert-dir "$REGISTRY_CERT_DIR"
    run curl -s "$REGISTRY_URL/v2/"
    [ "$status" -eq 60 ]
    registry_stop here
    gone "$REGISTRY_PID"
}

@test "a TLS registry can insist on client certificates" {
    make_ca "$DRAY_TEST_DIR/servers/ca"
    ca=$DRAY_TEST_DIR/servers/ca
    registry_start tls here --client-ca "$ca/ca.crt"
    fails curl -s --cacert "$REGISTRY_CA" "$REGISTRY_URL/v2/"
    curl -s --fail --cacert "$REGISTRY_CA" --cert "$ca/client.crt" --key "$ca/client.key" "$REGISTRY_URL/v2/"
    registry_stop here
}

@test "an htpasswd registry wants its password" {
    registry_start htpasswd here
    push_image "$LAYOUT:latest" "$REGISTRY/team/demo:v1"
    pull_with_skopeo "$REGISTRY" --src-tls-verify=false --src-creds "$REGISTRY_USER:$REGISTRY_PASSWORD"
    fails pull_with_skopeo "$REGISTRY" --src-tls-verify=false --src-creds "$REGISTRY_USER:wrong"
    is anonymous "$(curl -s -o /dev/null -w '%{http_code}' "$REGISTRY_URL/v2/")" 401
    registry_stop here
    gone "$REGISTRY_PID"
}

@test "a token registry wants a token, and its token server a password" {
    registry_start token here
    push_image "$LAYOUT:latest" "$REGISTRY/team/demo:v1"
    pull_with_skopeo "$REGISTRY" --src-tls-verify=false --src-creds "$REGISTRY_USER:$REGISTRY_PASSWORD"
    fails pull_with_skopeo "$REGISTRY" --src-tls-verify=false
    read -r token_pid _ < "$DRAY_TEST_DIR/servers/here-token/pid"
    registry_stop here
    gone "$REGISTRY_PID"
    gone "$token_pid"
}

@test "tokens of a token registry expire when they should, and allow only what they say" {
    registry_start token here --expires-in 2 --anonymous-pull
    push_image "$LAYOUT:latest" "$REGISTRY/team/demo:v1"
    token=$(curl -s "$REGISTRY_TOKEN_URL?service=registry&scope=repository:team/demo:pull,push" | sed 's/.*"token": "\([^"]*\)".*/\1/')
    code() { curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $token" "$@"; }
    is fresh "$(code "$REGISTRY_URL/v2/team/demo/blobs/$L0")" 200
    is push "$(code -X POST "$REGISTRY_URL/v2/team/demo/blobs/uploads/")" 401
    is other "$(code "$REGISTRY_URL/v2/team/other/tags/list")" 401
    sleep 3
    is old "$(code "$REGISTRY_URL/v2/team/demo/blobs/$L0")" 401
    registry_stop here
}

@test "a mirror serves what its upstream has" {
    registry_start plain upstream
    push_image "$LAYOUT:latest" "$REGISTRY/team/demo:v1"
    registry_start plain mirror --mirror-of "$REGISTRY_URL"
    pull_with_skopeo "$REGISTRY" --src-tls-verify=false
    server_use upstream
    registry_stop upstream
    registry_stop mirror
}

@test "nginx passes on, serves blobs itself, redirects them, and speaks TLS" {
    registry_start plain here
    push_image "$LAYOUT:latest" "$REGISTRY/team/demo:v1"
    nginx_start --name proxy
    pull_with_skopeo "$NGINX" --src-tls-verify=false
    nginx_start --name blobs --blobs "$REGISTRY_DIR" --extra 'limit_rate 100m;'
    pull_with_skopeo "$NGINX" --src-tls-verify=false
    nginx_start --name redirecting --redirect-blobs "$NGINX_URL"
    pull_with_skopeo "$NGINX" --src-tls-verify=false
    is redirect "$(curl -s -o /dev/null -w '%{http_code}' "$NGINX_URL/v2/team/demo/blobs/$L0")" 307
    nginx_start --name files --root "$LAYOUT"
    curl -s --fail "$NGINX_URL/oci-layout" | cmp - "$LAYOUT/oci-layout"
    nginx_start --name tls --tls
    pull_with_skopeo "$NGINX" --src-cert-dir "$NGINX_CERT_DIR"
    is protocol "$(curl -s --cacert "$NGINX_CA" -o /dev/null -w '%{http_version}' "$NGINX_URL/v2/")" 2
    stop_one() { server_use "$1" && nginx_stop "$1" && gone "$NGINX_PID"; }
    for name in proxy blobs redirecting files tls; do stop_one "$name"; done
    registry_stop here
}

@test "the wrong certificates are wrong" {
    ca=$DRAY_TEST_DIR/servers/ca
    reason() { curl -s -S --cacert "$NGINX_CA" "$NGINX_URL/" 2>&1; }
    for row in 'expired:certificate has expired' 'wronghost:no alternative certificate subject name matches' \
        'stranger:self-signed certificate'; do
        nginx_start --name wrong --root "$LAYOUT" --tls "${row%%:*}"
        run reason
        [[ $output == *"${row#*:}"* ]]
        nginx_stop wrong
    done
}

@test "a server that cannot start is an error that shows its log, and leaves nothing" {
    run registry_start plain here --port 1x
    [ "$status" -ne 0 ]
    [[ $output == *"did not start"* ]]
    fails server_alive here
}

@test "servers end with the shell that started them, even when it is killed" {
    for signal in TERM INT KILL; do
        bash -c '. "$1/registry.bash"
            registry_start token mortal && nginx_start --name mortal-nginx && hostile_start - --name mortal-hostile
            cat "$(servers_dir)"/mortal*/pid > pids && mv pids ready
            while :; do sleep 0.1; done' bash "$SUPPORT_DIR" 3>&- &
        shell=$!
        for ((i = 0; i < 300 && $(ls ready 2> /dev/null | wc -l) == 0; i++)); do sleep 0.05; done
        # a background shell ignores SIGINT, as it does when bats is interrupted: bats ends it by SIGTERM
        if [[ $signal == INT ]]; then kill -INT "$shell"; kill -TERM "$shell"; else kill -"$signal" "$shell"; fi
        wait "$shell" || true
        is servers "$(wc -l < ready)" 4
        while read -r pid start; do
            for ((i = 0; i < 100; i++)); do
                if [[ $(process_start "$pid") != "$start" ]]; then break; fi
                sleep 0.05
            done
            ((i < 100))
        done < ready
        rm ready
    done
}

@test "everything starts for a user who is not root" {
    if ((EUID != 0)); then
        registry_start tls here
        registry_stop here # the rest of this file runs as such a user already
        return
    fi
    home=$(mktemp -d)
    cp -r "$SUPPORT_DIR" "$LAYOUT" "$home"
    chown -R nobody "$home"
    run runuser -u nobody -- env PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$home" DRAY_TEST_DIR="$home/state" bash -e -c '
        . "$HOME/support/registry.bash"
        registry_start token && push_image "$HOME/layout:latest" "$REGISTRY/a/b:1"
        nginx_start --tls && push_image "$HOME/layout:latest" "$NGINX/a/c:1" --dest-creds "$REGISTRY_USER:$REGISTRY_PASSWORD"
        hostile_start - && hostile_stats
        stop_all' bash
    rm -rf "$home"
    echo "$output"
    [ "$status" -eq 0 ]
}

# ----- the hostile registry -----

@test "without a rule the hostile registry is honest" {
    hostile_scenario '{}'
    get manifests/latest
    is length "$SIZE" "${#MANIFEST}"
    is type "$(header content-type)" application/vnd.oci.image.manifest.v1+json
    is digest "$(header docker-content-digest)" "$(digest)"
    get "manifests/$(digest)"
    is "by digest" "$CODE" 200
    get "blobs/$L0"
    is blob "$(digest)" "$L0"
    get "blobs/$L0" --head
    is "HEAD length" "$(header content-length)" "$LAYER_BYTES"
    get "blobs/$L0" -H 'If-None-Match: "'"$L0"'"'
    is "same etag" "$CODE" 304
    get tags/list
    is tags "$(cat body)" '{"name": "demo", "tags": ["latest"]}'
    get manifests/none
    is "no manifest" "$CODE $(grep -o MANIFEST_UNKNOWN body)" "404 MANIFEST_UNKNOWN"
    get "blobs/sha256:$(printf 0%.0s {1..64})"
    is "no blob" "$CODE $(grep -o BLOB_UNKNOWN body)" "404 BLOB_UNKNOWN"
    get "blobs/sha256:..%2f..%2f..%2findex.json"
    is "bad digest" "$CODE" 404
    get "blobs/uploads/" -X POST
    is push "$CODE" 405
}

@test "its image is one that skopeo takes, with the same bytes for the same seed" {
    hostile_scenario '{}'
    skopeo --insecure-policy copy --quiet --src-tls-verify=false "docker://$HOSTILE/demo:latest" oci:pulled:v1
    cmp "$(layer)" "pulled/blobs/sha256/${L0#*:}"
    is size "$(stat -c %s "$(layer)")" "$LAYER_BYTES"
    gzip -dc "$(layer)" | tar -t > list
    is entry "$(cat list)" layer-0.bin
    is diffid "$(gzip -dc "$(layer)" | sha256sum | cut -d ' ' -f 1)" \
        "$(grep -o 'diff_ids": \["sha256:[0-9a-f]*' "$LAYOUT/blobs/sha256/${CONFIG#*:}" | cut -d : -f 3)"
    python3 "$SUPPORT_DIR/hostile_registry.py" --synthetic "demo:3:$LAYER_BYTES:7" --write-layout other
    [ ! -e "other/blobs/sha256/${L0#*:}" ]
}

@test "ranges are served as RFC 9110 says" {
    hostile_scenario '{}'
    last=$((LAYER_BYTES - 1))
    while read -r asked code length told; do
        get "blobs/$L0" -H "Range: bytes=$asked"
        is "$asked" "$CODE $SIZE $(header content-range)" "$code $length ${told:+bytes $told}"
    done << END
0-0 206 1 0-0/$LAYER_BYTES
100-199 206 100 100-199/$LAYER_BYTES
$last- 206 1 $last-$last/$LAYER_BYTES
-5 206 5 $((LAYER_BYTES - 5))-$last/$LAYER_BYTES
10-99999999 206 $((LAYER_BYTES - 10)) 10-$last/$LAYER_BYTES
9-3 200 $LAYER_BYTES
0-1,5-6 200 $LAYER_BYTES
END
    get "blobs/$L0" -H "Range: bytes=$LAYER_BYTES-"
    is "at the end" "$CODE $(header content-range)" "416 bytes */$LAYER_BYTES"
    get "blobs/$L0" -H "Range: bytes=1000-" -H 'If-Range: "other"'
    is "other etag" "$CODE" 200
    get "blobs/$L0" -H "Range: bytes=1000-"
    tail -c +1001 "$(layer)" | cmp - body
}

@test "H-1 to H-4: connections end, reset, stall and drip where the rule says" {
    while IFS='|' read -r action rc code size; do
        play '{"kind": "blob"}' "$action"
        get "blobs/$L0"
        is "$action" "$RC $CODE $SIZE" "$rc $code $size"
    done << END
{"close": "start"}|52|000|0
{"close": 0}|18|200|0
{"close": 1}|18|200|1
{"close": -1}|18|200|$((LAYER_BYTES - 1))
{"close": 0.5}|18|200|$((LAYER_BYTES / 2))
{"rst": "start"}|56|000|0
{"stall": "start"}|28|000|0
{"stall": "mid-headers"}|28|200|0
{"stall": 0}|28|200|0
{"stall": 1000}|28|200|1000
{"stall": 1000, "stall_seconds": 0.2}|0|200|$LAYER_BYTES
{"delay": 0.2}|0|200|$LAYER_BYTES
END
    play '{"kind": "blob"}' '{"rst": 0.5}'
    get "blobs/$L0"
    is reset "$RC $CODE" "56 200"
    ((SIZE <= LAYER_BYTES / 2))
    is end "$(log_last end) $(log_last sent)" "rst $((LAYER_BYTES / 2))"
    play '{"kind": "blob"}' '{"close": "mid-headers"}'
    get "blobs/$L0"
    is "half the headers" "$CODE $(header content-length)" "200 "
    play '{"kind": "blob"}' '{"rate": 100}'
    get "blobs/$L0"
    is drip "$RC" 28
    ((SIZE >= 50 && SIZE <= 150))
    play '{"kind": "connect", "listener": "main", "times": 1}' '{"rst": "start"}'
    get "blobs/$L0"
    ((RC != 0)) # 7 or 56: curl may see the reset before or after it takes itself for connected
    is "connect, once" "$(log_last kind) $(log_last end)" "connect rst"
    get "blobs/$L0"
    is "connect, again" "$RC" 0
}

@test "H-5 to H-8: lengths lie" {
    while IFS='|' read -r action rc size told; do
        play '{"kind": "blob"}' "$action"
        get "blobs/$L0"
        is "$action" "$RC $SIZE $(header content-length | paste -sd ' ')" "$rc $size $told"
    done << END
{"resize": 100}|0|$((LAYER_BYTES + 100))|$((LAYER_BYTES + 100))
{"resize": -100}|0|$((LAYER_BYTES - 100))|$((LAYER_BYTES - 100))
{"body": "hello"}|0|5|5
{"content_length": "+100"}|18|$LAYER_BYTES|$((LAYER_BYTES + 100))
{"content_length": "-100"}|0|$((LAYER_BYTES - 100))|$((LAYER_BYTES - 100))
{"content_length": 7}|0|7|7
{"content_length": [9, "+0"]}|0|$LAYER_BYTES|9 $LAYER_BYTES
{"framing": "chunked"}|0|$LAYER_BYTES|
{"framing": "close"}|0|$LAYER_BYTES|
{"framing": "chunked", "close": 1000}|18|1000|
{"framing": "close", "close": 1000}|0|1000|
END
    play '{"kind": "blob"}' '{"framing": "chunked"}'
    get "blobs/$L0"
    is chunked "$(header transfer-encoding) $(digest)" "chunked $L0"
    play '{"kind": "blob"}' '{"content_length": "many"}'
    exec 5<> "/dev/tcp/${HOSTILE/://}" # curl refuses such a header before it writes it down
    printf 'GET /v2/demo/blobs/%s HTTP/1.1\r\n\r\n' "$L0" >&5
    cat <&5 > head
    exec 5>&-
    is junk "$(header content-length)" many
    # the bytes that follow those announced are on the wire
    play '{"kind": "blob"}' '{"resize": 100, "content_length": "-100"}'
    get "blobs/$L0"
    is extra "$SIZE $(log_last sent)" "$LAYER_BYTES $((LAYER_BYTES + 100))"
}

@test "H-9 to H-13: ranges, ETags and encodings lie" {
    while IFS='|' read -r action code size told; do
        play '{"kind": "blob", "has": ["Range"]}' "$action"
        get "blobs/$L0" -H 'Range: bytes=1000-1999'
        is "$action" "$CODE $SIZE $(header content-range | paste -sd ' ')" "$code $size $told"
    done << END
{"ignore_range": true}|200|$LAYER_BYTES|
{"range": {"start": 1}}|206|999|bytes 1001-1999/$LAYER_BYTES
{"range": {"start": -1}}|206|1001|bytes 999-1999/$LAYER_BYTES
{"range": {"end": -1}}|206|999|bytes 1000-1998/$LAYER_BYTES
{"range": {"total": 5}}|206|1000|bytes 1000-1999/$((LAYER_BYTES + 5))
{"range": {"total": "*"}}|206|1000|bytes 1000-1999/*
{"content_range": []}|206|1000|
{"content_range": ["bytes {start}-{end}/{total}", "bytes 0-1/2"]}|206|1000|bytes 1000-1999/$LAYER_BYTES bytes 0-1/2
{"status": 416, "headers": {"Content-Range": "bytes */3"}}|416|91|bytes */3
END
    play '{"kind": "blob"}' '{"range": {"start": 1}}'
    get "blobs/$L0" -H 'Range: bytes=1000-1999'
    tail -c +1002 "$(layer)" | head -c 999 | cmp - body
    play '{"kind": "blob"}' '{"multipart": true}'
    get "blobs/$L0" -H 'Range: bytes=0-9'
    is multipart "$(header content-type)" "multipart/byteranges; boundary=PART"
    grep -qa "^Content-Range: bytes 0-9/$LAYER_BYTES" body
    play '{"kind": "blob"}' '{"status": 206}'
    get "blobs/$L0"
    is "206 unasked" "$CODE $SIZE" "206 $LAYER_BYTES"
    play '{"kind": "blob"}' '{"headers": {"ETag": "v{nth}"}}'
    get "blobs/$L0"
    get "blobs/$L0"
    is etag "$(header etag)" v2
    play '{"kind": "blob"}' '{"gzip": true}'
    get "blobs/$L0"
    is gzip "$(header content-encoding) $(gzip -dc < body | cmp - "$(layer)" && echo same)" "gzip same"
}

@test "H-20, H-21: redirects of every kind" {
    for status in 301 302 303 307 308; do
        play '{"kind": "blob", "listener": "main"}' "{\"status\": $status, \"redirect\": \"{url:cdn}{path}?sig=x\"}"
        get "blobs/$L0"
        is location "$CODE $(header location)" "$status http://$HOSTILE_CDN/v2/demo/blobs/$L0?sig=x"
        get "blobs/$L0" -L
        is followed "$(digest)" "$L0"
        is listener "$(log_last listener) $(log_last query)" "cdn sig=x"
    done
    play '{"kind": "blob"}' '{"chain": 10}'
    get "blobs/$L0" -L --max-redirs 10
    is "chain of 10" "$RC $(digest)" "0 $L0"
    get "blobs/$L0" -L --max-redirs 9
    is "chain of 10, followed 9 times" "$RC" 47
    play '{"kind": "blob"}' '{"redirect": "{path}"}'
    get "blobs/$L0" -L --max-redirs 5
    is loop "$RC" 47
    play '{"kind": "blob"}' '{"redirect": "../blobs/{reference}", "chain": 1}'
    get "blobs/$L0" -L
    is relative "$RC $(digest)" "0 $L0"
    play '{"kind": "blob"}' '{"redirect": "http://2130706433:{port:cdn}/"}'
    get "blobs/$L0"
    is decimal "$(header location)" "http://2130706433:${HOSTILE_CDN#*:}/"
    play '{"kind": "blob"}' '{"redirect": "{url:nowhere}"}'
    get "blobs/$L0"
    is "a mistake in the scenario" "$CODE $(grep -o 'no listener' body)" "500 no listener"
}

@test "H-22 to H-29: refusals, with headers and OCI error bodies" {
    play '{"lacks": ["Authorization"]}' \
        '{"status": 401, "headers": {"WWW-Authenticate": ["Basic realm=\"a, b\"", "Bearer realm=\"{url}/token\""]}}'
    get manifests/latest
    is challenges "$CODE $(header www-authenticate | paste -sd ' ')" \
        "401 Basic realm=\"a, b\" Bearer realm=\"$HOSTILE_URL/token\""
    get manifests/latest -H 'Authorization: Bearer x'
    is authorized "$CODE" 200
    while read -r status code; do
        play '{}' "{\"status\": $status}"
        get "blobs/$L0"
        is "$status" "$CODE $(grep -o "\"$code\"" body)" "$status \"$code\""
    done << END
400 UNKNOWN
401 UNAUTHORIZED
403 DENIED
404 BLOB_UNKNOWN
405 UNSUPPORTED
429 TOOMANYREQUESTS
500 UNKNOWN
503 UNAVAILABLE
END
    play '{}' '{"status": 400, "error": "EXPIRED", "message": "too late"}'
    get "blobs/$L0"
    is body "$(cat body)" '{"errors": [{"code": "EXPIRED", "message": "too late", "detail": null}]}'
    play '{}' '{"status": 429, "headers": {"Retry-After": "{date:+60}"}}'
    get "blobs/$L0"
    seconds=$(($(date -d "$(header retry-after)" +%s) - $(date +%s)))
    ((seconds >= 57 && seconds <= 60))
    play '{"method": "HEAD"}' '{"status": 405}'
    get "blobs/$L0" --head
    is HEAD "$CODE $SIZE" "405 0"
    get "blobs/$L0"
    is GET "$CODE" 200
    play '{}' '{"status": 418, "body": "{name} {reference} {other}", "headers": {"X-A": ["1", "2"], "Content-Type": "a/b"}}'
    get manifests/latest
    is anything "$CODE $(cat body) $(header x-a | paste -sd ,) $(header content-type)" "418 demo latest {other} 1,2 a/b"
    play '{}' '{"raw": "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi"}'
    get manifests/latest
    is raw "$CODE $(cat body)" "200 hi"
}

@test "content: bits flip, blobs swap, manifests are replaced, digests lie" {
    for spot in 0 0.5 -1; do
        play '{"kind": "blob"}' "{\"flip\": $spot}"
        get "blobs/$L0"
        is "flip $spot" "$SIZE $(cmp -l body "$(layer)" | wc -l)" "$LAYER_BYTES 1"
        is "digest header" "$(header docker-content-digest)" "$L0"
    done
    play '{"kind": "blob", "blob": "layer:0"}' '{"swap": "layer:1"}'
    get "blobs/$L0"
    is swapped "$(digest)" "$L1"
    get "blobs/$L2"
    is "not swapped" "$(digest)" "$L2"
    echo '{"schemaVersion": 2}' > other.json
    printf '{"rules": [{"match": {"kind": "manifest"}, "action": {"body_file": "other.json"}}]}' > replaced.json
    hostile_start ./replaced.json --name files
    get manifests/latest
    cmp body other.json
    is "digest by tag" "$(header docker-content-digest)" "$(digest)"
    hostile_stop files
    server_use hostile
    play '{}' '{"headers": {"Docker-Content-Digest": "sha256:0", "ETag": null}}'
    get "blobs/$L0"
    is headers "$(header docker-content-digest)$(header etag)" sha256:0
}

@test "rules: first match wins, and times, skip, nth, every and per count" {
    codes() { # REQUESTS
        local i all=
        for ((i = 0; i < $1; i++)); do
            get "blobs/$L0"
            all+="$CODE "
        done
        echo "$all"
    }
    play '{"times": 2}' '{"status": 503}'
    is times "$(codes 4)" "503 503 200 200 "
    play '{"skip": 1, "times": 2}' '{"status": 503}'
    is skip "$(codes 4)" "200 503 503 200 "
    play '{"nth": 3}' '{"status": 503}'
    is nth "$(codes 4)" "200 200 503 200 "
    play '{"every": 3}' '{"status": 503}'
    is every "$(codes 7)" "503 200 200 503 200 200 503 "
    play '{"times": 1, "per": "path"}' '{"status": 503}'
    get "blobs/$L1"
    is per "$CODE $(codes 2)" "503 503 200 "
    play '{"headers": {"Range": "^bytes=5-"}, "blob": ["config", "layer:-3"], "name": "de.o", "path": ".*", "reference": "sha.*"}' \
        '{"status": 500}'
    get "blobs/$L0" -H 'Range: bytes=5-'
    is "all hold" "$CODE" 500
    get "blobs/$L0" -H 'Range: bytes=6-'
    is "one does not" "$CODE" 206
    hostile_scenario '{"rules": [{"match": {"kind": "blob"}, "action": {"status": 404}, "id": "a"}, {"action": {"status": 403}}]}'
    get "blobs/$L0"
    is first "$CODE $(log_last rule)" "404 a"
    get manifests/latest
    is second "$CODE $(log_last rule)" "403 1"
    for wrong in '{"rule": []}' '{"rules": [{"match": {"kind": "blobs"}}]}' '{"rules": [{"action": {"stale": 1}}]}' '[]' \
        '{"rules": [{"action": {"close": "middle"}}]}' '{"rules": [{"action": {"close": 1, "rst": 1}}]}' '{"auth": {"mode": "x"}}'; do
        run hostile_admin scenario --data-binary "$wrong"
        [[ $status -ne 0 && $output == *message* ]]
    done
}

@test "auth: basic, and bearer with a token server that counts, scopes and expires" {
    hostile_scenario '{"auth": {"mode": "basic", "user": "u", "password": "p"}}'
    get manifests/latest
    is "basic, without" "$CODE" 401
    get manifests/latest -u u:p
    is "basic, with" "$CODE" 200
    hostile_scenario '{"auth": {"mode": "bearer", "user": "u", "password": "p", "expires_in": 1, "expired_status": 400}}'
    get manifests/latest
    is challenge "$CODE $(header www-authenticate)" \
        "401 Bearer realm=\"$HOSTILE_URL/token\",service=\"hostile\",scope=\"repository:demo:pull\""
    ask() { curl -s "$@" "$HOSTILE_URL/token?scope=repository:$scope:pull" | sed 's/.*"token": "\([^"]*\)".*/\1/'; }
    scope=demo
    is "token without password" "$(ask -o /dev/null -w '%{http_code}')" 401
    token=$(ask -u u:p)
    get manifests/latest -H "Authorization: Bearer $token"
    is "with token" "$CODE" 200
    get manifests/latest -H "Authorization: Bearer wrong"
    is "with a wrong one" "$CODE" 401
    scope=other
    get manifests/latest -H "Authorization: Bearer $(ask -u u:p)"
    is "with another's" "$CODE" 401
    sleep 1
    get manifests/latest -H "Authorization: Bearer $token"
    is "with an old one" "$CODE" 400
    [[ $(hostile_stats) == *'"tokens_issued": 2, "tokens_refused": 1'* ]]
    hostile_scenario '{"auth": {"mode": "bearer", "identity_token": "id"}}'
    curl -s --fail -d grant_type=refresh_token -d refresh_token=id -d scope=repository:demo:pull "$HOSTILE_URL/token" | grep -q '"token"'
    fails curl -s --fail -d grant_type=refresh_token -d refresh_token=no "$HOSTILE_URL/token"
    # rules see requests that are let in, unless they ask for the others
    play '{"denied": true}' '{"status": 403}' '{"mode": "bearer"}'
    get manifests/latest
    is denied "$CODE" 403
    play '{"kind": "manifest", "times": 1}' '{"status": 503}' '{"mode": "bearer"}'
    get manifests/latest
    is "not counted" "$CODE" 401
    hostile_scenario '{"auth": {"mode": "bearer"}}'
    skopeo --insecure-policy copy --quiet --src-tls-verify=false "docker://$HOSTILE/demo:latest" oci:pulled:v1
    cmp "$(layer)" "pulled/blobs/sha256/${L0#*:}"
}

@test "TLS: handshakes stall and fail, client certificates are seen, schemes are downgraded" {
    ca=$DRAY_TEST_DIR/servers/ca
    make_ca "$ca"
    printf '{"rules": [{"match": {"kind": "blob", "listener": "main"}, "action": {"redirect": "{url:plain}{path}"}}]}' > down.json
    hostile_start ./down.json --name secure --synthetic "demo:3:$LAYER_BYTES" --tls-cert "$ca/server.crt" --tls-key "$ca/server.key" \
        --tls-client-ca "$ca/ca.crt" --tls-client-optional
    [[ $HOSTILE_URL == https://* ]]
    get "blobs/$L0" --cacert "$ca/ca.crt" --cert "$ca/client.crt" --key "$ca/client.key" -L
    is downgraded "$RC $(digest) $(log_last listener)" "0 $L0 plain"
    is "client certificate" "$(hostile_requests | grep -c '"client_cert": "client"')" 1
    get manifests/latest
    is "unknown CA" "$RC" 60
    is "in the log" "$(log_last end)" tls-failed
    play '{"kind": "connect", "listener": "main", "times": 1}' '{"stall": "start"}'
    get manifests/latest --cacert "$ca/ca.crt"
    is "stalled handshake" "$RC" 28
    get manifests/latest --cacert "$ca/ca.crt"
    is "next handshake" "$RC" 0
    play '{"kind": "manifest"}' '{"framing": "close"}'
    get manifests/latest --cacert "$ca/ca.crt"
    is "closed in order" "$RC $SIZE" "0 ${#MANIFEST}"
    hostile_stop secure
    server_use hostile
}

@test "the log and the counters say what happened" {
    hostile_scenario '{}'
    hostile_reset
    curl -s -o /dev/null -o /dev/null -H 'Authorization: Bearer secret' "$HOSTILE_URL/v2/demo/manifests/latest" "$HOSTILE_URL/v2/demo/blobs/$L0?x=y"
    hostile_requests | tail -n 2 | python3 -c '
import json, sys
first, second = map(json.loads, sys.stdin)
assert first["connection"] == second["connection"], "kept alive"
assert (second["method"], second["kind"], second["listener"], second["status"]) == ("GET", "blob", "main", 200), second
assert (second["sent"], second["end"], second["query"]) == (int(sys.argv[1]), "complete", "x=y"), second
assert second["headers"]["authorization"] == "Bearer secret", second' "$LAYER_BYTES"
    hostile_stats | python3 -c '
import json, sys
stats = json.load(sys.stdin)
assert stats["requests"] == {"main": 2} and stats["connections"]["main"] == 1, stats
assert stats["bytes"]["main"] == int(sys.argv[1]), stats' "$((LAYER_BYTES + ${#MANIFEST}))"
    play '{"kind": "blob"}' '{"stall": 10}'
    get "blobs/$L0"
    is "who left" "$(log_last end) $(log_last sent)" "client-gone 10"
}

@test "a listener that is gone refuses, or is a hole that counts who knocks" {
    unheard() { hostile_stats | jq -c .unheard; }
    hostile_start - --name holes --listen deaf=hole://127.0.0.1:0
    is "at first" "$(unheard)" '{"main":0,"cdn":0,"plain":0,"deaf":0}'
    hostile_scenario '{"rules": [{"match": {"listener": "main"}, "action": {"gone": "hole"}},
        {"match": {"listener": "cdn"}, "action": {"gone": "refuse"}}]}' > /dev/null
    for url in "$HOSTILE_URL" "http://$HOSTILE_CDN"; do
        is "the last answer" "$(curl -s -o /dev/null -w '%{http_code}' "$url/v2/")" 200
    done
    for attempt in 1 2 3; do
        run curl -s --max-time 0.3 "$HOSTILE_URL/v2/"
        is hole "$status" 28
        run curl -s --max-time 0.3 "http://$HOSTILE_CDN/v2/"
        is refused "$status" 7
    done
    is "in the end" "$(unheard)" '{"main":3,"cdn":0,"plain":0,"deaf":0}'
    hostile_stop holes
}

@test "the hostile registry ends at once on SIGTERM, whatever its clients do" {
    hostile_start h03-stall-always --name stalled
    curl -s -o /dev/null "$HOSTILE_URL/v2/demo/blobs/$(curl -s "$HOSTILE_URL/v2/demo/manifests/latest" | grep -o 'sha256:[0-9a-f]*' | sed -n 2p)" &
    client=$!
    for ((i = 0; i < 100; i++)); do
        if [[ $(hostile_stats) == *'"applied": 1'* ]]; then break; fi
        sleep 0.05
    done
    begin=${EPOCHREALTIME/./}
    hostile_stop stalled
    ((${EPOCHREALTIME/./} - begin < 2000000))
    gone "$HOSTILE_PID"
    wait "$client" || is "the client sees the end" $? 18
    is "in the log" "$(tail -n 1 "$HOSTILE_LOG" | grep -o '"end": "[a-z]*"')" '"end": "stopped"'
    server_use hostile
}

@test "every scenario file loads, its rules come to bear, and each case has one" {
    # curl 7.88 hangs for good now and then with -Z, whatever its own time limit is.
    ask() { timeout 2 curl -sZ -m 0.2 "$@"; }
    for case in {1..12} {20..29}; do
        compgen -G "$SUPPORT_DIR/scenarios/h$(printf %02d "$case")-*.json" > /dev/null
    done
    targets=()
    for path in '' manifests/latest "blobs/$L0" "blobs/$L0" "blobs/$CONFIG"; do
        if [[ $path ]]; then path=demo/$path; fi
        targets+=(-o /dev/null "$HOSTILE_URL/v2/$path")
    done
    targets+=(-o /dev/null "http://$HOSTILE_CDN/v2/demo/blobs/$L0?expires=1")
    for file in "$SUPPORT_DIR"/scenarios/*.json; do
        hostile_scenario "$file" > /dev/null
        bearer="Authorization: Bearer $(curl -s -m 0.2 "$HOSTILE_URL/token?scope=repository:demo:pull" | grep -o '"token": "[^"]*' | cut -d '"' -f 4)"
        # without and with a token, to the end of redirects, the whole and parts
        ask "${targets[@]}" || true
        ask -L --max-redirs 3 -H "$bearer" "${targets[@]}" || true
        ask -I -H "$bearer" "${targets[@]}" || true
        ask -L --max-redirs 3 -H "$bearer" -H 'Range: bytes=5-' "${targets[@]}" || true
        stats=$(hostile_stats)
        if [[ $stats == *'"applied": 0'* ]]; then
            echo "$file: a rule never applied: $stats" >&2
            return 1
        fi
    done
}
