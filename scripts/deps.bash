# What building, testing and showing dray needs, and how to install what is missing.
# To be sourced by scripts that begin with `set -euo pipefail`.
#
#   need_packages build test      returns when all of it is there; otherwise exits

# One line per need: what for, how to tell that it is there, and its package for apt, dnf, pacman
# and apk ("-": not packaged there, or part of another). It is there when the program exists, for
# "pc:NAME" when pkg-config knows the library, for "have_..." when the function below succeeds.
readonly dray_needs='
build  gcc              gcc                    gcc                  gcc             gcc
build  have_libc        libc6-dev              glibc-devel          glibc           musl-dev
build  cmake            cmake                  cmake                cmake           cmake
build  ninja            ninja-build            ninja-build          ninja           ninja
build  pkg-config       pkg-config             pkgconf-pkg-config   pkgconf         pkgconf
build  pc:libcurl       libcurl4-openssl-dev   libcurl-devel        curl            curl-dev
build  pc:jansson       libjansson-dev         jansson-devel        jansson         jansson-dev
build  pc:libsodium     libsodium-dev          libsodium-devel      libsodium       libsodium-dev
build  pc:libcrypto     libssl-dev             openssl-devel        openssl         openssl-dev
show   python3          python3                python3              python          python3
show   docker-registry  docker-registry        docker-distribution  -               docker-registry
show   skopeo           skopeo                 skopeo               skopeo          skopeo
show   setpriv          util-linux             util-linux           util-linux      setpriv
test   pc:cmocka        libcmocka-dev          libcmocka-devel      cmocka          cmocka-dev
test   bats             bats                   bats                 bats            bats
test   g++              g++                    gcc-c++              -               g++
test   clang            clang                  clang                clang           clang
test   have_clang_rt    libclang-rt-dev        compiler-rt          compiler-rt     compiler-rt
test   clang-format     clang-format           clang-tools-extra    -               clang-extra-tools
test   clang-tidy       clang-tidy             clang-tools-extra    -               clang-extra-tools
test   cppcheck         cppcheck               cppcheck             cppcheck        cppcheck
test   shellcheck       shellcheck             ShellCheck           shellcheck      shellcheck
test   python3          python3                python3              python          python3
test   docker-registry  docker-registry        docker-distribution  -               docker-registry
test   nginx            nginx-light            nginx                nginx           nginx
test   perl             perl                   perl-interpreter     perl            perl
test   openssl          openssl                openssl              -               openssl
test   skopeo           skopeo                 skopeo               skopeo          skopeo
test   umoci            umoci                  umoci                umoci           umoci
test   crun             crun                   crun                 crun            crun
test   curl             curl                   curl                 -               curl
test   jq               jq                     jq                   jq              jq
test   man              man-db                 man-db               man-db          mandoc
test   setarch          util-linux             util-linux           util-linux      setarch
test   setpriv          util-linux             util-linux           util-linux      setpriv
test   zstd             zstd                   zstd                 zstd            zstd
'

# The C library's headers, which gcc's package only recommends.
have_libc() {
    echo '#include <stdio.h>' | gcc -E -x c - >/dev/null 2>&1
}

# clang's sanitizer and fuzzer runtimes, which clang's package only recommends.
have_clang_rt() {
    echo 'int main(void) { return 0; }' |
        clang -fsanitize=thread -x c -o /dev/null - >/dev/null 2>&1 &&
        echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n ? 0 : 0; }' |
        clang -fsanitize=fuzzer,address -x c -o /dev/null - >/dev/null 2>&1
}

have() { # PROBE
    case $1 in
    pc:*) pkg-config --exists "${1#pc:}" 2>/dev/null ;;
    have_*) "$1" ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# missing_packages COLUMN PURPOSE...: the packages of what is not there, one a line
missing_packages() {
    local column=$1 purpose probe names
    shift
    while read -r purpose probe names; do
        [[ " $* " == *" ${purpose:-none} "* ]] || continue
        have "$probe" || awk -v n="$column" '$n != "-" { print $n }' <<<"$names"
    done <<<"$dray_needs" | sort -u
}

# Run as root on Debian: install packages without starting their services. docker-registry and
# nginx would otherwise come up at once and at every boot, on ports 5000 and 80 of all interfaces;
# dray's scripts start their own, on loopback, with their own configuration. policy-rc.d is what
# Debian's maintainer scripts ask before they start anything; one that is there already is kept.
install_as_root() {
    local policy=/usr/sbin/policy-rc.d units
    if [ ! -e "$policy" ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        trap 'exit 130' INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update && apt-get -q install -y --no-install-recommends "$@" || exit
    units=$(printf '%s\n' "$@" | sed -n 's/^docker-registry$/&/p; s/^nginx-light$/nginx/p')
    if [ -n "$units" ] && [ -d /run/systemd/system ]; then
        # shellcheck disable=SC2086 # unit names, one a word
        systemctl disable --now $units
    fi
}

# need_packages PURPOSE...: install what is missing, or say what is and exit
need_packages() {
    local packages sudo=()
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # nginx, for those who are not root
    mapfile -t packages < <(missing_packages 1 "$@")
    [ ${#packages[@]} -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "Not installed yet. The packages are called, as far as we know:"
        echo "  dnf install $(missing_packages 2 "$@" | paste -sd ' ')"
        echo "  pacman -S $(missing_packages 3 "$@" | paste -sd ' ')"
        echo "  apk add $(missing_packages 4 "$@" | paste -sd ' ')"
        exit 1
    fi >&2
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    if [ ${#sudo[@]} -gt 0 ] && ! command -v sudo >/dev/null; then
        echo "Needed, and only root can install: apt-get install ${packages[*]}" >&2
        exit 1
    fi
    echo "Installing: ${packages[*]}" >&2
    "${sudo[@]}" bash -c "$(declare -f install_as_root); install_as_root \"\$@\"" - \
        "${packages[@]}" >&2
    mapfile -t packages < <(missing_packages 1 "$@")
    [ ${#packages[@]} -eq 0 ] || {
        echo "Still missing after the installation: ${packages[*]}" >&2
        exit 1
    }
}
