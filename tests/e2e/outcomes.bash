# How pulls from a hostile registry end, a table at a time. Sourced by .bats files after helpers.bash.
# shellcheck disable=SC2154 # `run` sets status and stderr

# outcomes [OPTION]...: read "SCENARIO STATUS [TEXT]" lines; pull from each scenario, with these
# options too, and hold the end to it. STATUS is a pattern. A SCENARIO that begins with @ is a file
# below BATS_TEST_TMPDIR. Stalls are cut short by small time-outs; whatever takes 30 seconds hangs.
outcomes() {
    local scenario file want text bad=0 tags
    while read -r scenario want text; do
        STORE=$BATS_TEST_TMPDIR/$scenario
        file=${scenario/#@/$BATS_TEST_TMPDIR/}
        hostile_scenario "$file" > "$BATS_TEST_TMPDIR/admin"
        DRAY_STORE=$STORE run --separate-stderr timeout --kill-after 1 30 "$DRAY" pull --quiet \
            --log-level error --timeout 1s --connect-timeout 3s --retries 3 "$@" "$HOSTILE/demo"
        # shellcheck disable=SC2053 # a pattern
        if [[ $status != $want || $stderr != *"$text"* ]]; then
            printf '%s: status %s, expected %s %s\n%s\n' "$scenario" "$status" "$want" "$text" "$stderr"
            bad=1
        fi
        if [[ $status -ne 0 && $stderr != "dray pull: $HOSTILE/demo:latest:"* ]]; then
            printf '%s: the message does not name the image:\n%s\n' "$scenario" "$stderr"
            bad=1
        fi
        if [[ -e $STORE/index.json ]]; then
            if [[ $status -eq 0 ]]; then tags=(); else tags=(--allow-no-tags); fi
            check_store "${tags[@]}" || bad=1
        fi
        rm -rf "$STORE"
    done
    return $bad
}
