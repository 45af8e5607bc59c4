# Bad input and faults: one clear message, the right exit status, nothing wrong left behind.

setup_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    compose small
    registry_start plain
    push_image "$DRAY_IMAGES/small" "$REGISTRY/small:latest"
}

teardown_file() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    stop_all
}

setup() {
    . "${BATS_TEST_DIRNAME}/helpers.bash"
    server_use registry
    STORE=$BATS_TEST_TMPDIR/store
}

# as_other COMMAND...: as an unprivileged user, when we are root.
as_other() {
    if ((EUID == 0)); then setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"; else "$@"; fi
}

@test "bad names are refused before any traffic" {
    for name in upper/CASE 'a b' 'x:' 'x@sha256:12' 'https://r.example/x' scratch ''; do
        run --separate-stderr dray pull "$name"
        expect 2
        [[ $stderr == *"dray pull:"* ]] || fail "no message for '$name'"
        [[ ! -e $STORE ]] || fail "'$name' made a store"
    done
}

@test "options that make no sense are usage errors" {
    for arguments in '--nosuch x' '--jobs 0 x' '--jobs 1000 x' '--jobs x x' '--platform a/b/c/d x' '--progress loud x' ''; do
        # shellcheck disable=SC2086
        run --separate-stderr dray pull $arguments
        expect 2
    done
    run --separate-stderr dray nosuch
    expect 2
    run --separate-stderr dray
    expect 2
}

@test "an unknown image, tag or repository is not found" {
    run --separate-stderr dray pull "$REGISTRY/nosuch"
    expect 4
    says "$REGISTRY/nosuch:latest"
    says "http://$REGISTRY"
    run --separate-stderr dray pull "$REGISTRY/small:nosuch"
    expect 4
    says "$REGISTRY/small:nosuch"
}

@test "an unknown host is named" {
    run --separate-stderr dray pull --retries 0 registry.invalid/small
    expect 1
    says registry.invalid
    says resolve
}

@test "a refused connection is named" {
    run --separate-stderr dray pull 127.0.0.1:1/small
    expect 1
    says 127.0.0.1:1
    says efused
}

@test "a store that may not be written is a question of permission" {
    local parent=$BATS_TEST_TMPDIR/readonly
    mkdir -p "$parent/home"
    chmod 755 "$BATS_FILE_TMPDIR" "$BATS_TEST_TMPDIR" "$parent"
    chmod a-w "$parent"
    if ((EUID == 0)); then
        # a program below /root is out of another user's reach
        cp "$DRAY" "$BATS_TEST_TMPDIR/dray"
        local DRAY=$BATS_TEST_TMPDIR/dray
        local up=$BATS_TEST_TMPDIR
        while [[ $up != / ]]; do as_other test -x "$up" || chmod o+x "$up"; up=$(dirname "$up"); done
    fi
    run --separate-stderr as_other env HOME="$parent/home" DRAY_STORE="$parent/store" "$DRAY" pull "$REGISTRY/small"
    chmod u+w "$parent"
    expect 5
    says "$parent/store"
}

@test "a store of a newer format is refused untouched" {
    dray pull -q "$REGISTRY/small"
    echo 999 > "$STORE/dray/version"
    run --separate-stderr dray pull "$REGISTRY/small"
    expect 7
    says 999
    run --separate-stderr dray images
    expect 7
}

@test "a directory that is something else is no store" {
    mkdir -p "$STORE"
    echo precious > "$STORE/letter"
    run --separate-stderr dray pull "$REGISTRY/small"
    expect 7
    [[ $(ls "$STORE") == letter ]]
}

@test "a damaged index.json is reported, not overwritten" {
    dray pull -q "$REGISTRY/small"
    echo '{"manifests": [' > "$STORE/index.json"
    run --separate-stderr dray pull "$REGISTRY/small"
    expect 7
    says index.json
    [[ $(cat "$STORE/index.json") == '{"manifests": [' ]]
}

@test "a full disk is named with its path and the bytes that are needed" {
    if ! unshare -m true 2> /dev/null; then skip "needs the right to mount a file system"; fi
    mkdir -p "$STORE"
    run --separate-stderr unshare -m bash -c '
        mount -t tmpfs -o size=4m none "$1" && DRAY_STORE=$1/store "$2" pull "$3"; status=$?
        find "$1/store/blobs" -type f -size +1M; exit $status' bash "$STORE" "$DRAY" "$REGISTRY/small"
    expect 7
    says "$STORE/store"
    [[ $stderr =~ [0-9]+\ more\ bytes ]] || fail "no number of bytes"
    [[ -z $output ]]
}

@test "closed and full outputs are errors, not silence" {
    run --separate-stderr bash -c '"$0" version > /dev/full' "$DRAY"
    expect 1
    dray pull -q "$REGISTRY/small"
    run --separate-stderr bash -c 'DRAY_STORE=$1 "$0" images > /dev/full' "$DRAY" "$STORE"
    expect 1
}
