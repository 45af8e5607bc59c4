#!/usr/bin/env bats
# The checks themselves: each rule finds a bad file, and a clean tree passes.

setup() {
    scripts=$BATS_TEST_DIRNAME/../../scripts
    tree=$BATS_TEST_TMPDIR/tree
    mkdir -p "$tree"/{core/include/dray,registry,storage,workers,cmd,scripts}
    put core/a.h '/* A. */' '#include <stdio.h>' '#include <dray/a.h>'
    put core/include/dray/a.h '/* Public A. */' '#include <stdint.h>'
    put registry/b.c '#include "registry/b.h"' '#include "core/a.h"'
    put registry/b.h '/* B. */' '#include <curl/curl.h>'
    put workers/c.h '/* C. */' '#include "registry/b.h"'
    put cmd/d.c '/* D. */' '#include <dray/a.h>' 'static volatile sig_atomic_t flag;' \
        '/* strcpy(a, b) in a comment */ const char *text = "strcpy(a, b)";'
    put scripts/e '#!/bin/bash' '# E.' 'kill "$pid"'
}

put() { # FILE LINE...
    local file=$tree/$1
    shift
    printf '%s\n' "$@" >"$file"
}

# refuses CHECK WANT: the check fails and its output holds WANT
refuses() {
    run "$scripts/$1" "$tree"
    [ "$status" -eq 1 ]
    [[ $output == *"$2"* ]] || {
        echo "wanted: $2"
        echo "got: $output"
        return 1
    }
}

@test "a clean tree passes both" {
    run "$scripts/check-layers" "$tree"
    [ "$status" -eq 0 ] && [ -z "$output" ]
    run "$scripts/check-banned" "$tree"
    [ "$status" -eq 0 ] && [ -z "$output" ]
}

@test "an empty tree passes neither" {
    rm -r "$tree"
    mkdir "$tree"
    refuses check-layers "no sources"
    refuses check-banned "no files"
}

@test "check-layers finds arrows that point up or sideways" {
    put core/x.c '#include "core/a.h"' '#include "storage/y.h"'
    refuses check-layers 'core/x.c:2: core must not know storage'
    put core/x.c ''
    put registry/x.c '#include "storage/y.h"'
    refuses check-layers 'registry/x.c:1: registry must not know storage'
    put registry/x.c ''
    put storage/x.c '#  include "registry/b.h"'
    refuses check-layers 'storage/x.c:1: storage must not know registry'
    put storage/x.c ''
    put workers/x.c '#include "cmd/y.h"'
    refuses check-layers 'workers/x.c:1: workers must not know cmd'
    put workers/x.c ''
    put cmd/x.c '#include "core/a.h"'
    refuses check-layers 'cmd/x.c:1: cmd must not know core'
}

@test "check-layers finds includes that are spelled wrongly" {
    put core/x.c '#include "a.h"'
    refuses check-layers 'core/x.c:1: includes are written from the repository root'
    put core/x.c '#include <core/a.h>'
    refuses check-layers 'core/x.c:1: headers of the project'
    put core/x.c '#include "dray/a.h"'
    refuses check-layers 'core/x.c:1: public headers are included as'
}

@test "check-layers finds libraries where they have no business" {
    put core/include/dray/x.h '#include <jansson.h>'
    refuses check-layers 'core/include/dray/x.h:1: a public header must not know'
    put core/include/dray/x.h '#include "core/a.h"'
    refuses check-layers 'core/include/dray/x.h:1: a public header includes only'
    put core/include/dray/x.h ''
    put storage/x.c '#include <curl/curl.h>'
    refuses check-layers 'storage/x.c:1: storage must not know <curl/curl.h>'
}

@test "check-layers finds circles of headers" {
    put core/x.h '#include "core/y.h"'
    put core/y.h '#include "core/z.h"'
    put core/z.h '#include "core/x.h"'
    refuses check-layers 'core/x.h -> core/y.h -> core/z.h -> core/x.h'
    rm "$tree"/core/[xyz].h
    put core/include/dray/a.h '#include <dray/a.h>'
    refuses check-layers 'core/include/dray/a.h -> core/include/dray/a.h'
}

@test "check-banned finds every banned call" {
    local call
    for call in strcpy strcat stpcpy sprintf vsprintf strtok atoi atol alloca gets; do
        put core/x.h '/* X. */' "    if ($call (x))"
        refuses check-banned "core/x.h:2: "
    done
    put core/x.h '/* X. */' 'snprintf(x); my_strcpy(x); strtok_r(x); fgets(x);'
    run "$scripts/check-banned" "$tree"
    [ "$status" -eq 0 ]
}

@test "check-banned finds volatile flags" {
    put core/x.h '/* X. */' 'static volatile int stop;'
    refuses check-banned 'core/x.h:2: volatile is not for threads'
}

@test "check-banned finds scripts that end processes by name" {
    local name
    for name in p"kill" "kill"all; do
        put scripts/x '#!/bin/sh' '# X.' "$name -f dray"
        refuses check-banned 'scripts/x:3: ends processes of others'
    done
}

@test "check-banned finds white space at the end, also in documents" {
    put x.md '# X' 'text '
    refuses check-banned 'x.md:2: white space'
    put x.md '# X'
    printf 'no newline' >"$tree/y.md"
    refuses check-banned 'y.md:1: no newline'
}

@test "check-banned finds paths of one machine" {
    put x.md "see /ho""me/somebody/file"
    refuses check-banned 'x.md:1: a path of one machine'
    put x.md "see /ro""ot/file"
    refuses check-banned 'x.md:1: a path of one machine'
}

@test "check-banned finds files that do not say what they are for" {
    put core/x.h '#include <stdio.h>'
    refuses check-banned 'core/x.h:1: does not open with a comment'
    rm "$tree/core/x.h"
    put core/x.c '#include <stdio.h>'
    refuses check-banned 'core/x.c:1: does not open with a comment'
    rm "$tree/core/x.c"
    put scripts/x '#!/bin/sh' 'exit 0'
    refuses check-banned 'scripts/x:1: does not open with a comment'
}
