# Certificates for tests, made with the openssl command alone. Sourced by registry.bash.

# certs_issue DIR NAME SUBJECT SAN DAYS: a key and a certificate, signed by the CA in DIR.
certs_issue() {
    local dir=$1 name=$2 subject=$3 san=$4 days=$5
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$subject" \
        -keyout "$dir/$name.key" -out "$dir/$name.csr" || return
    printf 'basicConstraints=critical,CA:FALSE\nsubjectAltName=%s\n' "$san" > "$dir/$name.ext"
    openssl x509 -req -in "$dir/$name.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" \
        -set_serial "0x$(openssl rand -hex 8)" -days "$days" -extfile "$dir/$name.ext" \
        -out "$dir/$name.crt" || return
    rm "$dir/$name.csr" "$dir/$name.ext"
}

# make_ca DIR: fill DIR with
#   ca        the private CA (ca.crt is what clients are given)
#   server    for 127.0.0.1, ::1, localhost, registry.test
#   client    for client authentication, common name "client"
#   expired   as server, but its time is over
#   wronghost for other.test only
#   stranger  as server, but signed by itself
# each as NAME.crt and NAME.key. Does nothing when DIR is complete already.
make_ca() {
    local dir=$1 here=IP:127.0.0.1,IP:::1,DNS:localhost,DNS:registry.test self
    if [[ -e $dir/complete ]]; then return; fi
    mkdir -p "$dir" || return
    self=(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30)
    {
        "${self[@]}" -subj '/CN=test CA' -keyout "$dir/ca.key" -out "$dir/ca.crt" \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign &&
            "${self[@]}" -subj /CN=localhost -addext "subjectAltName=$here" \
                -keyout "$dir/stranger.key" -out "$dir/stranger.crt" &&
            certs_issue "$dir" server localhost "$here" 30 &&
            certs_issue "$dir" client client DNS:client.test 30 &&
            certs_issue "$dir" wronghost other.test DNS:other.test 30 &&
            # openssl x509 of 3.0 has no option for dates, but counts days backwards too
            certs_issue "$dir" expired localhost "$here" -1
    } > "$dir/log" 2>&1 || { cat "$dir/log" >&2; return 1; }
    touch "$dir/complete"
}
