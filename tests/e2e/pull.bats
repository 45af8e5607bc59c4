# dray pull against a real registry: what arrives, what is sent, what the user is told.

setup_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    registry_start plain
    compose --push "$REGISTRY" small multiarch small-docker small-zstd fleet/00 fleet/01 fleet/02
    nginx_start --upstream "$REGISTRY_URL" # its access log tells what a server sees
}

teardown_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    stop_all
}

setup() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    server_use registry
    server_use nginx
    STORE=$BATS_TEST_TMPDIR/store
    : > "$NGINX_ACCESS_LOG"
}

# What is not HTTP, such as a TLS hello to a plain port, is left out.
# requests: "METHOD PATH STATUS" of each, in order.
requests() { sed -nE 's/.*"([A-Z]+) ([^ ]+) HTTP[^"]*" ([0-9]+) .*/\1 \2 \3/p' "$NGINX_ACCESS_LOG"; }

@test "pulls an image of several layers, byte for byte what skopeo copies" {
    run --separate-stderr dray pull "$REGISTRY/small"
    expect 0
    prints "$REGISTRY/small:latest"
    prints "$(layout_digest small)"
    prints new
    check_store
    skopeo --insecure-policy copy -q --src-tls-verify=false "docker://$REGISTRY/small:latest" "oci:$BATS_TEST_TMPDIR/peer:latest"
    diff -r "$BATS_TEST_TMPDIR/peer/blobs" "$STORE/blobs"
    [[ $(staged) -eq 0 ]]
}

@test "an unchanged image costs one request and rewrites nothing" {
    dray pull -q "$NGINX/small"
    : > "$NGINX_ACCESS_LOG"
    touch "$BATS_TEST_TMPDIR/mark"
    sleep 0.05
    run --separate-stderr dray pull "$NGINX/small"
    expect 0
    prints unchanged
    [[ $(requests) == "HEAD /v2/small/manifests/latest 200" ]] || fail "$(requests)"
    [[ -z $(find "$STORE" -type f -newer "$BATS_TEST_TMPDIR/mark") ]]
}

@test "an unchanged image behind an index costs one request too" {
    dray pull -q "$NGINX/multiarch"
    : > "$NGINX_ACCESS_LOG"
    run --separate-stderr dray pull "$NGINX/multiarch"
    expect 0
    prints unchanged
    [[ $(requests) == "HEAD /v2/multiarch/manifests/latest 200" ]] || fail "$(requests)"
}

@test "a digest that is in the store costs no request" {
    local name
    name=$NGINX/small@$(layout_digest small)
    dray pull -q "$name"
    : > "$NGINX_ACCESS_LOG"
    run --separate-stderr dray pull "$name"
    expect 0
    prints unchanged
    [[ -z $(requests) ]] || fail "$(requests)"
}

# blob_bytes_served: the sum of all bodies of blobs. blob_bytes IMAGE...: what it should be.
blob_bytes_served() { sed -nE 's#.*"GET [^ ]+/blobs/[^"]*" [0-9]+ ([0-9]+) .*#\1#p' "$NGINX_ACCESS_LOG" | jq -s add; }
blob_bytes() {
    local image digest
    for image; do
        digest=$(layout_digest "$image")
        jq -c '.config, .layers[]' "$DRAY_IMAGES/$image/blobs/sha256/${digest#*:}"
    done | jq -s 'unique_by(.digest) | map(.size) | add'
}

# expect_served_once SPARE IMAGE...: all of it, and no more than 1 % and SPARE bytes again. A worker may
# take a part off a slow one, and what the server had sent ahead is lost.
expect_served_once() {
    local served all
    served=$(blob_bytes_served) all=$(blob_bytes "${@:2}")
    ((served >= all && served <= all * 101 / 100 + $1)) || fail "$served bytes served of $all: $(requests)"
}

@test "a first pull asks once for the manifest and fetches each byte once" {
    dray pull -q "$NGINX/small"
    [[ $(requests | grep -c manifests) -eq 1 ]] || fail "$(requests)"
    expect_served_once 0 small
}

@test "with one connection for each blob, each blob is one request" {
    dray pull -q --connections-per-blob 1 "$NGINX/small"
    [[ $(requests | sort | uniq -d) == "" ]] || fail "$(requests)"
    [[ $(requests | grep -c blobs) -eq 4 ]] || fail "$(requests)"
}

@test "a tag and a digest together: the digest is what is pulled" {
    local other
    other=$(layout_digest fleet/00)
    run --separate-stderr dray pull "$REGISTRY/small:latest@$other"
    expect 4
    run --separate-stderr dray pull -q "$REGISTRY/small:nosuchtag@$(layout_digest small)"
    expect 0
    [[ $output == "$(layout_digest small)" ]]
}

@test "images that share layers fetch each blob once, also when pulled at once" {
    run --separate-stderr dray pull "$NGINX/fleet/00" "$NGINX/fleet/01" "$NGINX/fleet/02"
    expect 0
    check_store
    expect_served_once 0 fleet/00 fleet/01 fleet/02
    [[ $(wc -l <<< "$output") -eq 3 ]]
}

@test "one failed image of several does not stop the others" {
    run --separate-stderr dray pull "$REGISTRY/fleet/00" "$REGISTRY/nosuch" "$REGISTRY/fleet/01"
    expect 3
    says "$REGISTRY/nosuch:latest"
    prints "$REGISTRY/fleet/00:latest"
    prints "$REGISTRY/fleet/01:latest"
    check_store
    run --separate-stderr dray images
    prints fleet/00
    prints fleet/01
}

@test "an index gives this machine's image, and its own digest" {
    run --separate-stderr dray pull -q "$REGISTRY/multiarch"
    expect 0
    [[ $output == "$(layout_digest multiarch)" ]]
    check_store
    run --separate-stderr dray inspect "$REGISTRY/multiarch"
    [[ $(jq -r '.config.architecture' <<< "$output") == amd64 || $(uname -m) != x86_64 ]]
}

@test "--platform chooses another image; one that does not exist names those that do" {
    run --separate-stderr dray pull --platform linux/arm64 "$REGISTRY/multiarch"
    expect 0
    run --separate-stderr dray inspect "$REGISTRY/multiarch"
    [[ $(jq -r '.config.architecture' <<< "$output") == arm64 ]]
    run --separate-stderr dray pull --platform linux/s390x "$REGISTRY/multiarch"
    expect 1
    says linux/amd64
    says linux/arm64
}

@test "a lone image of another platform is refused, whether it is in the store or not" {
    for round in 1 2; do
        run --separate-stderr dray pull --platform linux/s390x "$REGISTRY/small"
        expect 1
        says "not for linux/s390x"
        dray pull -q "$REGISTRY/small"
    done
}

@test "changing the platform of a tag that is there fetches the other image" {
    dray pull -q --platform linux/amd64 "$REGISTRY/multiarch"
    run --separate-stderr dray pull --platform linux/arm64 "$REGISTRY/multiarch"
    expect 0
    prints new
    run --separate-stderr dray inspect "$REGISTRY/multiarch"
    [[ $(jq -r '.config.architecture' <<< "$output") == arm64 ]]
}

@test "--all-platforms keeps the index whole" {
    run --separate-stderr dray pull -q --all-platforms "$REGISTRY/multiarch"
    expect 0
    check_store
    [[ $(jq -r '.manifests[0].digest' "$STORE/index.json") == "$(layout_digest multiarch)" ]]
    run --separate-stderr dray pull --all-platforms "$REGISTRY/multiarch"
    prints unchanged
}

@test "Docker schema 2 images and zstd layers are pulled as they are" {
    run --separate-stderr dray pull "$REGISTRY/small-docker" "$REGISTRY/small-zstd"
    expect 0
    check_store
    run --separate-stderr dray inspect "$REGISTRY/small-docker"
    [[ $(jq -r .manifest.mediaType <<< "$output") == application/vnd.docker.distribution.manifest.v2+json ]]
}

@test "skopeo and umoci read the store" {
    dray pull -q "$REGISTRY/small"
    [[ $(skopeo inspect "oci:$STORE:$REGISTRY/small:latest" | jq '.Layers | length') -eq 3 ]]
    skopeo --insecure-policy copy -q "oci:$STORE:$REGISTRY/small:latest" "dir:$BATS_TEST_TMPDIR/copy"
    umoci unpack --rootless --image "$STORE:$REGISTRY/small:latest" "$BATS_TEST_TMPDIR/bundle"
    [[ -s $BATS_TEST_TMPDIR/bundle/config.json ]]
}

@test "images, inspect and rm show and remove what was pulled" {
    dray pull -q "$REGISTRY/fleet/00" "$REGISTRY/fleet/01"
    run --separate-stderr dray images --format json
    expect 0
    [[ $(jq -r '.[].reference' <<< "$output" | sort | paste -sd' ') == "$REGISTRY/fleet/00:latest $REGISTRY/fleet/01:latest" ]]
    run --separate-stderr dray rm "$REGISTRY/fleet/00"
    expect 0
    check_store # what 01 shares with 00 is still there
    run --separate-stderr dray rm "$REGISTRY/fleet/01"
    expect 0
    [[ -z $(find "$STORE/blobs" -type f) ]] # and nothing is left behind
    run --separate-stderr dray rm "$REGISTRY/fleet/01"
    expect 4
}

@test "a damaged blob in the store is fetched again" {
    local blob
    dray pull -q "$REGISTRY/small"
    blob=$(find "$STORE/blobs" -type f -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
    chmod u+w "$blob"
    truncate -s 100 "$blob"
    run --separate-stderr dray pull "$REGISTRY/small"
    expect 0
    prints new
    check_store
}

@test "a manifest and a config that have decayed in the store are mended" {
    local digest config
    digest=$(layout_digest small)
    dray pull -q "$REGISTRY/small"
    config=$(jq -r .config.digest "$STORE/blobs/${digest/://}")
    for blob in "$digest" "$config"; do
        chmod u+w "$STORE/blobs/${blob/://}"
        printf X | dd of="$STORE/blobs/${blob/://}" bs=1 seek=7 conv=notrunc status=none
        chmod a-w "$STORE/blobs/${blob/://}"
    done
    run --separate-stderr dray pull "$REGISTRY/small"
    expect 0
    check_store
}

# One second is the promise; the rest is for a busy machine and for sanitizers.
@test "SIGINT ends a pull at once, keeps what came, and the next pull resumes" {
    local start pid first=0 took
    nginx_start --name slow --blobs "$REGISTRY_DIR" --extra 'limit_rate 1m;'
    dray pull -q "$NGINX/small" 2> "$BATS_TEST_TMPDIR/err" 3>&- &
    pid=$!
    wait_until 10 eval '[[ $(du -sb "$STORE/dray/staging" 2> /dev/null | cut -f1) -gt 1000000 ]]'
    start=${EPOCHREALTIME/./}
    # the shell function runs in a subshell; its child is the program
    kill -INT "$(pgrep -P "$pid" || echo "$pid")"
    wait "$pid" || first=$?
    took=$((${EPOCHREALTIME/./} - start))
    [[ $first -eq 130 ]] || fail "status $first: $(cat "$BATS_TEST_TMPDIR/err")"
    ((took < 3000000)) || fail "took $took us"
    check_store --allow-no-tags
    [[ $(staged) -gt 0 ]]
    server_use nginx
    run --separate-stderr dray pull -v "$NGINX/small"
    expect 0
    check_store
    requests | grep -q ' 206$' || fail "no range was asked for: $(requests)"
    [[ $(staged) -eq 0 ]]
}

@test "a pull that was killed is resumed, and the store was never wrong" {
    local pid round
    nginx_start --name slow --blobs "$REGISTRY_DIR" --extra 'limit_rate 1m;'
    for round in 1 2 3; do
        DRAY_STORE=$STORE "$DRAY" pull -q "$NGINX/small" 3>&- &
        pid=$!
        sleep "0.$((3 * round))"
        kill -KILL "$pid"
        wait "$pid" 2> /dev/null || true
        check_store --allow-no-tags
    done
    server_use nginx
    run --separate-stderr dray pull "$NGINX/small"
    expect 0
    check_store
}

@test "eight processes pull overlapping images into one store while half of them are killed" {
    local pids=() images=(fleet/00 fleet/01 fleet/02 small) i ended killed=0
    nginx_start --name slow --blobs "$REGISTRY_DIR" --extra 'limit_rate 2m;'
    for i in {0..7}; do
        DRAY_STORE=$STORE "$DRAY" pull -q "$NGINX/${images[i % 4]}" "$NGINX/${images[(i + 1) % 4]}" \
            > "$BATS_TEST_TMPDIR/out.$i" 2>&1 3>&- &
        pids+=($!)
    done
    for i in 0 2 4 6; do
        sleep 0.$((RANDOM % 5))
        kill -KILL "${pids[i]}" 2> /dev/null || true # on some machines one may be done
    done
    for i in {0..7}; do
        ended=0
        wait "${pids[i]}" || ended=$?
        if ((i % 2 == 0 && ended == 137)); then
            killed=$((killed + 1))
        elif ((ended != 0)); then
            fail "process $i: status $ended: $(cat "$BATS_TEST_TMPDIR/out.$i")"
        fi
    done
    ((killed >= 2)) || fail "only $killed were killed"
    check_store
    for i in {0..3}; do dray pull -q "$NGINX/${images[i]}"; done
    check_store
    # what a killed one was just giving its name, a *.tmp, is left for the sweep of another day
    [[ -z $(find "$STORE/dray/staging" -size +0 ! -name '*.tmp' -type f) ]]
}

@test "two processes that want one image fetch each byte of it once" {
    local pid
    nginx_start --name slow --blobs "$REGISTRY_DIR" --extra 'limit_rate 8m;'
    : > "$NGINX_ACCESS_LOG"
    DRAY_STORE=$STORE "$DRAY" pull -q "$NGINX/small" 3>&- &
    pid=$!
    run --separate-stderr dray pull -q "$NGINX/small"
    expect 0
    wait "$pid"
    check_store
    # where the server is slow a connection is cut more often, each with what fits into its socket
    expect_served_once $((4 << 20)) small
}
