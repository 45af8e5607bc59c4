# What the end-to-end tests of dray share. Sourced by each .bats file.
#
# DRAY         path of the program (required)
# DRAY_IMAGES  where scripts/make-images puts its images (required by those that pull real ones)

bats_require_minimum_version 1.5.0
: "${DRAY:?set DRAY to the dray program}"
E2E_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$E2E_DIR/../support/registry.bash"

# Nothing of the machine's user may play a part.
export HOME=${BATS_FILE_TMPDIR:?} DOCKER_CONFIG=$BATS_FILE_TMPDIR/docker XDG_CONFIG_HOME=$BATS_FILE_TMPDIR/config
export NO_COLOR=1 LC_ALL=C.UTF-8
unset DRAY_STORE XDG_DATA_HOME http_proxy https_proxy HTTP_PROXY HTTPS_PROXY no_proxy NO_PROXY all_proxy ALL_PROXY

# dray ARGUMENT...: the program, on this test's own store.
dray() { DRAY_STORE=$STORE "$DRAY" "$@"; }

# compose IMAGE... [--push HOST:PORT]: have scripts/make-images make them in DRAY_IMAGES, if need be.
compose() {
    "$E2E_DIR/../../scripts/make-images" --cache "${DRAY_IMAGES:?}" "$@" > "$BATS_FILE_TMPDIR/compose" 2>&1 ||
        { cat "$BATS_FILE_TMPDIR/compose" >&2; return 1; }
}

# check_store [OPTION]: every visible blob matches its digest, every tag is whole.
check_store() { python3 "$E2E_DIR/../support/check_store.py" "$STORE" "$@"; }

# staged: how many files there are in staging.
staged() { find "$STORE/dray/staging" -type f -size +0 | wc -l; }

# fail TEXT...: end the test, saying why and what the last `run` printed.
fail() {
    printf '%s\n' "$*" "status: ${status-}" "output: ${output-}" "stderr: ${stderr-}" >&2
    return 1
}

# expect STATUS: the last `run --separate-stderr` ended so.
expect() { [[ $status -eq $1 ]] || fail "expected status $1"; }

# says TEXT: it stands in what the last run told on stderr. prints TEXT: on stdout.
says() { [[ $stderr == *"$1"* ]] || fail "stderr does not say: $1"; }
prints() { [[ $output == *"$1"* ]] || fail "stdout does not print: $1"; }
says_not() { [[ $stderr != *"$1"* ]] || fail "stderr says: $1"; }

# layout_digest LAYOUT: the digest its index.json names first.
layout_digest() { jq -r '.manifests[0].digest' "$DRAY_IMAGES/$1/index.json"; }

# wait_until SECONDS COMMAND...: poll until it succeeds.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.02
    done
}
