# Access: credentials, tokens, TLS, proxies; and what is never told to whom.

setup_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    compose small fleet/00
    registry_start htpasswd basic
    push_image "$DRAY_IMAGES/small" "$REGISTRY/small:latest"
    registry_start token token --expires-in 300
    push_image "$DRAY_IMAGES/small" "$REGISTRY/small:latest"
    push_image "$DRAY_IMAGES/fleet/00" "$REGISTRY/fleet/00:latest"
    registry_start tls tls
    push_image "$DRAY_IMAGES/small" "$REGISTRY/small:latest"
    registry_start plain plain
    push_image "$DRAY_IMAGES/small" "$REGISTRY/small:latest"
}

teardown_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    stop_all
}

setup() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    STORE=$BATS_TEST_TMPDIR/store
    mkdir -p "$DOCKER_CONFIG"
    rm -f "$DOCKER_CONFIG/config.json"
}

# docker_config HOST USER PASSWORD: write the file that docker login writes.
docker_config() {
    jq -n --arg host "$1" --arg auth "$(printf '%s:%s' "$2" "$3" | base64 -w0)" \
        '{auths: {($host): {auth: $auth}}}' > "$DOCKER_CONFIG/config.json"
}

@test "without credentials the user is told to give some" {
    for kind in basic token; do
        server_use "$kind"
        run --separate-stderr dray pull "$REGISTRY/small"
        expect 5
        says "$REGISTRY/small:latest"
        says --creds
    done
}

@test "wrong credentials are refused and not shown" {
    for kind in basic token; do
        server_use "$kind"
        run --separate-stderr dray pull --log-level debug --creds "$REGISTRY_USER:sesame-wrong" "$REGISTRY/small"
        expect 5
        says_not sesame
    done
}

@test "credentials come from Docker's config.json" {
    for kind in basic token; do
        server_use "$kind"
        docker_config "$REGISTRY" "$REGISTRY_USER" "$REGISTRY_PASSWORD"
        run --separate-stderr dray pull --log-level debug --store "$STORE.$kind" "$REGISTRY/small"
        expect 0
        says_not "$REGISTRY_PASSWORD"
    done
}

@test "credentials come from --authfile and --creds too" {
    server_use basic
    docker_config "$REGISTRY" "$REGISTRY_USER" "$REGISTRY_PASSWORD"
    mv "$DOCKER_CONFIG/config.json" "$BATS_TEST_TMPDIR/auth.json"
    run --separate-stderr dray pull --authfile "$BATS_TEST_TMPDIR/auth.json" "$REGISTRY/small"
    expect 0
    run --separate-stderr dray pull --store "$STORE.2" --creds "$REGISTRY_USER:$REGISTRY_PASSWORD" "$REGISTRY/small"
    expect 0
    run --separate-stderr dray pull --authfile "$BATS_TEST_TMPDIR/absent.json" "$REGISTRY/small"
    [[ $status -ne 0 ]]
    says absent.json
}

@test "C-5 what skopeo has logged in to needs no other login" {
    local kind
    export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/run
    mkdir -m 700 "$XDG_RUNTIME_DIR"
    for kind in basic token; do
        server_use "$kind"
        env -u DOCKER_CONFIG skopeo login --tls-verify=false -u "$REGISTRY_USER" --password-stdin "$REGISTRY" <<< "$REGISTRY_PASSWORD" > "$BATS_TEST_TMPDIR/login"
        run --separate-stderr dray pull --store "$STORE.$kind" "$REGISTRY/small"
        expect 0
    done
    [[ -s $XDG_RUNTIME_DIR/containers/auth.json ]]
}

# helper NAME BODY: a credential helper, first in $PATH, that notes each call.
helper() {
    local bin=$BATS_TEST_TMPDIR/bin
    mkdir -p "$bin"
    printf '#!/bin/sh\nread -r server\necho "$1 $server" >> "%s/calls"\n%s\n' "$bin" "$2" > "$bin/docker-credential-$1"
    chmod +x "$bin/docker-credential-$1"
    [[ $PATH == "$bin:"* ]] || PATH=$bin:$PATH
}

@test "C-4 credentials come from a credential helper, which is asked once" {
    local kind
    for kind in basic token; do
        server_use "$kind"
        rm -f "$BATS_TEST_TMPDIR/bin/calls"
        helper keyring "echo '{\"Username\": \"$REGISTRY_USER\", \"Secret\": \"$REGISTRY_PASSWORD\"}'"
        jq -n --arg host "$REGISTRY" '{auths: {($host): {}}, credHelpers: {($host): "keyring"}}' > "$DOCKER_CONFIG/config.json"
        run --separate-stderr dray pull --log-level debug --store "$STORE.$kind" "$REGISTRY/small"
        expect 0
        says_not "$REGISTRY_PASSWORD"
        [[ $(< "$BATS_TEST_TMPDIR/bin/calls") == "get $REGISTRY" ]] || fail "asked: $(< "$BATS_TEST_TMPDIR/bin/calls")"
    done
}

@test "C-4 a helper that fails is named, and costs images that need none nothing" {
    helper broken "echo oops; exit 1"
    echo '{"credsStore": "broken"}' > "$DOCKER_CONFIG/config.json"
    server_use basic
    run --separate-stderr dray pull "$REGISTRY/small"
    expect 5
    says "credential helper broken: exit status 1"
    says --creds
    server_use plain
    run --separate-stderr dray pull "$REGISTRY/small"
    expect 0
    says_not broken
    [[ $(wc -l < "$BATS_TEST_TMPDIR/bin/calls") -eq 1 ]] || fail "asked where nobody wants a login"
    echo '{"credsStore": "of-another-machine"}' > "$DOCKER_CONFIG/config.json"
    server_use basic
    run --separate-stderr dray pull "$REGISTRY/small"
    expect 5
    says docker-credential-of-another-machine
}

@test "Ctrl-C ends the wait for a credential helper" {
    local pid
    helper asleep "exec sleep 60"
    echo '{"credsStore": "asleep"}' > "$DOCKER_CONFIG/config.json"
    server_use basic
    DRAY_STORE=$STORE env --default-signal "$DRAY" pull "$REGISTRY/small" > "$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    pid=$!
    wait_until 20 test -s "$BATS_TEST_TMPDIR/bin/calls"
    kill -INT "$pid"
    wait_until 5 bash -c "! kill -0 $pid 2> /dev/null"
    wait "$pid" || status=$?
    [[ $status -eq 130 ]] || fail "exit status $status: $(< "$BATS_TEST_TMPDIR/out")"
}

@test "all workers share one token request" {
    local before
    server_use token
    before=$(grep -c 'GET /token' "$(servers_dir token-token)/log" || true)
    run --separate-stderr dray pull --creds "$REGISTRY_USER:$REGISTRY_PASSWORD" "$REGISTRY/small"
    expect 0
    [[ $(($(grep -c 'GET /token' "$(servers_dir token-token)/log") - before)) -eq 1 ]]
}

@test "a token that expires in mid-pull is renewed" {
    hostile_start h30-token-5s --synthetic demo:3:600Ki --expires-in 2
    # Layers of 600 KiB at 256 KiB/s take longer than a token lives; one job at a time, so that later
    # requests come after its end.
    run --separate-stderr dray pull --jobs 1 "$HOSTILE/demo"
    tokens=$(hostile_requests | jq -s 'map(select(.kind == "token")) | length')
    hostile_stop
    expect 0
    check_store
    ((tokens > 1)) || fail "$tokens token requests"
}

@test "an unknown authority is refused, with advice; --cacert and --insecure accept it" {
    server_use tls
    run --separate-stderr dray pull "$REGISTRY/small"
    expect 1
    says certificate
    says --cacert
    run --separate-stderr dray pull --cacert "$REGISTRY_CA" "$REGISTRY/small"
    expect 0
    run --separate-stderr dray pull --store "$STORE.2" --insecure "$REGISTRY/small"
    expect 0
}

@test "expired certificates and those of other hosts are refused and named" {
    server_use plain
    nginx_start --name expired --tls expired
    run --separate-stderr dray pull --cacert "$NGINX_CA" "$NGINX/small"
    expect 1
    says expired
    nginx_start --name wronghost --tls wronghost
    run --separate-stderr dray pull --cacert "$NGINX_CA" "$NGINX/small"
    expect 1
    nginx_stop expired
    nginx_stop wronghost
}

@test "a client certificate opens a registry that insists on one" {
    local ca
    server_use plain
    ca=$(servers_dir)/ca
    make_ca "$ca"
    nginx_start --name mutual --tls --client-ca "$ca/ca.crt"
    run --separate-stderr dray pull --cacert "$NGINX_CA" "$NGINX/small"
    [[ $status -ne 0 ]]
    run --separate-stderr dray pull --cacert "$NGINX_CA" --cert "$ca/client.crt" --key "$ca/client.key" "$NGINX/small"
    nginx_stop mutual
    expect 0
    check_store
}

@test "over TLS the server sees HTTP/2 and verified blobs arrive" {
    server_use plain
    nginx_start --name h2 --tls
    run --separate-stderr dray pull --cacert "$NGINX_CA" "$NGINX/small"
    expect 0
    check_store
    grep -q 'HTTP/2.0" 200' "$NGINX_ACCESS_LOG" || fail "$(cat "$NGINX_ACCESS_LOG")"
    nginx_stop h2
}

@test "a redirect to another origin carries no credentials, headers or client certificates" {
    hostile_start h20-307-other-origin --user user:pass-secret
    hostile_scenario '{"auth": {"mode": "basic", "user": "user", "password": "pass-secret"}, "rules": [
        {"match": {"kind": "blob", "listener": "main"}, "action": {"redirect": "{url:cdn}{path}"}}]}'
    run --separate-stderr dray pull --creds user:pass-secret --header 'X-Meta-Secret: sesame' "$HOSTILE/demo"
    expect 0
    check_store
    hostile_requests > "$BATS_TEST_TMPDIR/log"
    hostile_stop
    jq -es 'map(select(.listener == "cdn")) | length > 0' "$BATS_TEST_TMPDIR/log" > /dev/null
    jq -es 'map(select(.listener == "cdn") | .headers | (has("authorization") or has("x-meta-secret"))) | any | not' \
        "$BATS_TEST_TMPDIR/log" > /dev/null || fail "$(cat "$BATS_TEST_TMPDIR/log")"
    jq -es 'map(select(.listener == "main" and .kind == "blob") | .headers | (has("authorization") and has("x-meta-secret"))) | all' \
        "$BATS_TEST_TMPDIR/log" > /dev/null || fail "$(cat "$BATS_TEST_TMPDIR/log")"
}

@test "plain http is spoken only to loopback, unless it is asked for" {
    run --separate-stderr dray pull --retries 0 --connect-timeout 2 registry.test:1/small
    expect 1
    says https://registry.test:1
    says_not http://registry.test
}

@test "a proxy from the environment is used, and NO_PROXY respected" {
    server_use plain
    nginx_start --name proxy --upstream "$REGISTRY_URL"
    http_proxy=$NGINX_URL run --separate-stderr dray pull --plain-http registry.test/small
    expect 0
    grep -q 'GET http://registry.test/v2/small\|GET /v2/small' "$NGINX_ACCESS_LOG"
    http_proxy=$NGINX_URL no_proxy=registry.test run --separate-stderr dray pull --store "$STORE.2" --retries 0 --plain-http registry.test/small
    expect 1
    nginx_stop proxy
}

@test "a mirror is asked first, and the upstream when the mirror is dead or lacks the image" {
    server_use plain
    nginx_start --name mirror --upstream "$REGISTRY_URL"
    run --separate-stderr dray pull --mirror "127.0.0.1:1=$NGINX_URL" 127.0.0.1:1/small
    expect 0
    grep -q 'GET /v2/small/manifests' "$NGINX_ACCESS_LOG"
    nginx_stop mirror
    run --separate-stderr dray pull --store "$STORE.2" --mirror "$REGISTRY=http://127.0.0.1:1" "$REGISTRY/small"
    expect 0
    nginx_start --name empty --root "$BATS_TEST_TMPDIR"
    run --separate-stderr dray pull --store "$STORE.3" --mirror "$REGISTRY=$NGINX_URL" "$REGISTRY/small"
    expect 0
    grep -q 'GET /v2/small/manifests' "$NGINX_ACCESS_LOG"
    nginx_stop empty
}

@test "a mirror is asked for nothing but the images of its registry" {
    server_use plain
    nginx_start --name unasked --upstream "$REGISTRY_URL"
    run --separate-stderr dray pull --retries 0 --mirror "$NGINX_URL" --mirror "quay.io=$NGINX_URL" 127.0.0.1:1/small
    nginx_stop unasked
    expect 1
    [ ! -s "$NGINX_ACCESS_LOG" ]
}

@test "no secret stands in the command line that others can read" {
    server_use basic
    nginx_start --name slow --upstream "$REGISTRY_URL" --extra 'limit_rate 500k;'
    DRAY_STORE=$STORE "$DRAY" pull -q --creds "$REGISTRY_USER:$REGISTRY_PASSWORD" "$NGINX/small" 3>&- &
    wait_until 10 test -d "$STORE/dray/staging"
    ! tr '\0' ' ' < "/proc/$!/cmdline" | grep -F "$REGISTRY_PASSWORD" || fail "the password is visible"
    kill -INT $!
    wait $! || true
    nginx_stop slow
}
