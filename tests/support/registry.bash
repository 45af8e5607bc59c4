# Real and hostile registries for tests: start, fill, stop. Source it from a bats file or any bash script.
#
# Everything lives below $DRAY_TEST_DIR (bats: $BATS_FILE_TMPDIR when that is unset), one folder per server. A start function
# returns when the server answers, and exports variables about it. Servers end with the shell that started them, however that
# ends (they ask the kernel for a signal), so call start functions in setup_file, setup or a test, but not under `run`, in
# $(...) or in a pipeline. stop_all ends them in order. README.md, in this folder, has examples.

SUPPORT_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$SUPPORT_DIR/certs.bash"

START_SECONDS=15
STOP_SECONDS=5

# servers_dir [NAME]: the folder of all servers, or of one.
servers_dir() {
    local base=${DRAY_TEST_DIR:-${BATS_FILE_TMPDIR:?set DRAY_TEST_DIR to a folder for the state of test servers}}
    printf '%s\n' "$base/servers${1:+/$1}"
}

# free_port: print a TCP port of 127.0.0.1 that was free a moment ago.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# ----- processes -----

# process_start PID: the start time of a live process, which tells it from a later one with its number.
process_start() {
    local stat fields
    { read -r stat < "/proc/$1/stat"; } 2> /dev/null || return 1
    read -ra fields <<< "${stat##*) }"
    [[ ${fields[0]} != Z ]] && printf '%s\n' "${fields[19]}"
}

# server_alive NAME
server_alive() {
    local pid start
    { read -r pid start < "$(servers_dir "$1")/pid"; } 2> /dev/null && [[ $(process_start "$pid") == "$start" ]]
}

# server_spawn NAME COMMAND...: run it in the background, its output in the server's log. Sets SERVER_PID.
server_spawn() {
    local name=$1 dir
    shift
    dir=$(servers_dir "$name")
    if server_alive "$name"; then
        echo "server $name runs already" >&2
        return 1
    fi
    mkdir -p "$dir" || return
    : > "$dir/log" # before the fork: nobody may read what an earlier server said
    # bats waits for whoever holds its file descriptors 3 and 4
    TMPDIR=$dir setpriv --pdeathsig TERM -- "$@" < /dev/null >> "$dir/log" 2>&1 3>&- 4>&- &
    SERVER_PID=$!
    printf '%s %s\n' "$SERVER_PID" "$(process_start "$SERVER_PID")" > "$dir/pid"
}

# server_wait NAME TEST...: until TEST holds; gives up when the server is dead or START_SECONDS have passed.
server_wait() {
    local name=$1 deadline=$((SECONDS + START_SECONDS))
    shift
    until "$@"; do
        if ! server_alive "$name" || ((SECONDS >= deadline)); then
            echo "server $name did not start; its log ends:" >&2
            tail -n 20 "$(servers_dir "$name")/log" >&2
            server_stop "$name"
            return 1
        fi
        sleep 0.05
    done
}

# server_publish PREFIX NAME [KEY VALUE]...: export PREFIX_KEY for each, PREFIX_PID, and PREFIX as HOST:PORT of the URL.
server_publish() {
    local prefix=$1 name=$2 key
    shift 2
    {
        printf 'PREFIX=%q\n' "$prefix"
        for key in URL CA CERT_DIR USER PASSWORD; do printf '%s=\n' "$key"; done
        printf 'PID=%q\n' "$SERVER_PID"
        while (($#)); do
            printf '%s=%q\n' "$1" "$2"
            shift 2
        done
    } > "$(servers_dir "$name")/env"
    server_use "$name"
}

# server_use NAME: export the variables of a server that was started before again.
server_use() {
    local line key value prefix=
    while IFS= read -r line; do
        key=${line%%=*}
        eval "value=${line#*=}"
        if [[ $key == PREFIX ]]; then
            prefix=$value
            continue
        fi
        export "${prefix}_$key=$value"
        if [[ $key == URL ]]; then export "$prefix=${value#*://}"; fi
    done < "$(servers_dir "$1")/env"
}

# server_stop NAME...: end these, in order if they can, and wait until they are gone.
server_stop() {
    local name pid start deadline
    for name; do
        if server_alive "$name"; then
            read -r pid start < "$(servers_dir "$name")/pid"
            kill -TERM "$pid" 2> /dev/null || true
            deadline=$((SECONDS + STOP_SECONDS))
            while server_alive "$name"; do
                if ((SECONDS >= deadline)); then kill -KILL "$pid" 2> /dev/null || true; fi
                sleep 0.02
            done
            wait "$pid" 2> /dev/null || true # reaps our own child; of others we know that they are gone
        fi
        rm -f "$(servers_dir "$name")/pid" "$(servers_dir "$name")/env"
    done
    return 0
}

# stop_all: end every server below the test directory.
stop_all() {
    local pid_file
    for pid_file in "$(servers_dir)"/*/pid; do
        if [[ -e $pid_file ]]; then server_stop "$(basename "$(dirname "$pid_file")")"; fi
    done
    return 0
}

# ----- docker-registry -----

# yaml TEXT: print it as a quoted YAML scalar.
yaml() { printf "'%s'" "${1//\'/\'\'}"; }

# registry_start plain|tls|htpasswd|token [NAME] [OPTION]...: Debian's docker-registry on 127.0.0.1. NAME is `registry` by default.
#   --port N          instead of any free one
#   --mirror-of URL   a pull-through cache of that registry
#   --schema1         accept and make schema 1 manifests
#   --client-ca FILE  (tls) insist on client certificates of this CA
#   --expires-in N    (token) seconds that tokens live
#   --anonymous-pull  (token) pulling needs no credentials
# Exports REGISTRY (host:port), REGISTRY_URL, REGISTRY_PID, REGISTRY_DIR (storage), REGISTRY_LOG; with tls REGISTRY_CA and
# REGISTRY_CERT_DIR (for skopeo); with htpasswd and token REGISTRY_USER and REGISTRY_PASSWORD; with token REGISTRY_TOKEN_URL.
registry_start() {
    local mode=$1 name=registry port=0 mirror='' schema1=false client_ca='' dir scheme=http
    local ca='' cert_dir='' user='' password='' token_url='' auth='' tls='' token_options=()
    shift
    if (($#)) && [[ $1 != --* ]]; then name=$1; shift; fi
    while (($#)); do
        case $1 in
        --port) port=$2 && shift ;;
        --mirror-of) mirror="proxy: {remoteurl: $(yaml "$2")}" && shift ;;
        --schema1) schema1=true ;;
        --client-ca) client_ca=$2 && shift ;;
        --expires-in) token_options+=("$1" "$2") && shift ;;
        --anonymous-pull) token_options+=("$1") ;;
        *) echo "registry_start: unknown option $1" >&2 && return 2 ;;
        esac
        shift
    done
    dir=$(servers_dir "$name")
    mkdir -p "$dir/storage" || return
    case $mode in
    plain) ;;
    tls)
        make_ca "$(servers_dir)/ca" || return
        scheme=https ca=$(servers_dir)/ca/ca.crt cert_dir=$dir/cert-dir
        mkdir -p "$cert_dir" && cp "$ca" "$cert_dir/ca.crt" || return
        tls="  tls: {certificate: $(yaml "${ca%/*}/server.crt"), key: $(yaml "${ca%/*}/server.key")"
        if [[ $client_ca ]]; then tls+=", clientcas: [$(yaml "$client_ca")]"; fi
        tls+='}'
        ;;
    htpasswd)
        user=alice password='pass word'
        # bcrypt, the only form docker-registry takes
        printf '%s:%s\n' "$user" "$(perl -e 'print crypt($ARGV[0], "\$2y\$05\$" . "saltsaltsaltsaltsaltsu")' "$password")" \
            > "$dir/htpasswd"
        auth="auth: {htpasswd: {realm: tests, path: $(yaml "$dir/htpasswd")}}"
        ;;
    token)
        user=alice password='pass word'
        token_server_start "$name" "$user:$password" "${token_options[@]}" || return
        token_url=$TOKEN_URL
        auth="auth: {token: {realm: $(yaml "$token_url"), service: registry, issuer: token-server, "
        auth+="rootcertbundle: $(yaml "$dir/token.crt")}}"
        ;;
    *) echo "registry_start: unknown kind $mode" >&2 && return 2 ;;
    esac
    cat > "$dir/config.yml" << END
version: 0.1
log: {level: info}
storage:
  filesystem: {rootdirectory: $(yaml "$dir/storage")}
  cache: {blobdescriptor: inmemory}
  delete: {enabled: true}
http:
  addr: 127.0.0.1:$port
  secret: tests
$tls
compatibility: {schema1: {enabled: $schema1}}
$mirror
$auth
END
    # docker-registry takes REGISTRY_... in its environment for configuration
    server_spawn "$name" env -i PATH="$PATH" docker-registry serve "$dir/config.yml" || return
    server_wait "$name" grep -q 'listening on 127' "$dir/log" || return
    port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$dir/log" | head -n 1)
    server_publish REGISTRY "$name" URL "$scheme://127.0.0.1:$port" DIR "$dir/storage" LOG "$dir/log" CA "$ca" \
        CERT_DIR "$cert_dir" USER "$user" PASSWORD "$password" TOKEN_URL "$token_url"
}

# token_server_start NAME USER:PASSWORD [OPTION]...: the token server of registry NAME. Sets TOKEN_URL.
token_server_start() {
    local name=$1 user=$2 dir
    shift 2
    dir=$(servers_dir "$name")
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=token server' -keyout "$dir/token.key" \
        -out "$dir/token.crt" 2> "$dir/token.log" || return
    server_spawn "$name-token" python3 "$SUPPORT_DIR/token_server.py" --key "$dir/token.key" --cert "$dir/token.crt" \
        --user "$user" "$@" || return
    server_wait "$name-token" grep -q '"url"' "$dir-token/log" || return
    TOKEN_URL=$(sed -n 's/.*"url": "\([^"]*\)".*/\1/p' "$dir-token/log" | head -n 1)
}

# registry_stop [NAME]: end a registry and its token server. What was pushed stays, and is there after another start.
registry_stop() {
    server_stop "${1:-registry}" "${1:-registry}-token"
}

# push_image LAYOUT_DIR[:TAG] HOST:PORT/NAME:TAG [SKOPEO_OPTION]...: copy an image into a server that was started here.
push_image() (
    options=(--quiet)
    for env in "$(servers_dir)"/*/env; do
        unset URL
        . "$env"
        if [[ ${URL#*://} == "${2%%/*}" ]]; then break; fi
    done
    if [[ ${URL#*://} != "${2%%/*}" ]]; then
        echo "push_image: no server was started at ${2%%/*}" >&2
        exit 1
    fi
    if [[ $CERT_DIR ]]; then options+=(--dest-cert-dir "$CERT_DIR"); else options+=(--dest-tls-verify=false); fi
    if [[ $USER ]]; then options+=(--dest-creds "$USER:$PASSWORD"); fi
    skopeo --insecure-policy copy "${options[@]}" "${@:3}" "oci:$1" "docker://$2"
)

# ----- nginx -----

# nginx_start [OPTION]...: nginx on 127.0.0.1 in front of a registry.
#   --name NAME             default: nginx
#   --upstream URL          what requests are passed on to; default: $REGISTRY_URL
#   --blobs DIR             serve blobs from this storage folder of a registry (REGISTRY_DIR), by sendfile
#   --redirect-blobs URL    answer blob requests with a 307 to the same path there
#   --root DIR              serve these files, and nothing else
#   --tls [CERT_NAME]       speak TLS and HTTP/2 with that certificate of make_ca; default: server
#   --client-ca FILE        insist on client certificates of this CA
#   --extra TEXT            more directives for the server block, such as 'limit_rate 1m;'
# Exports NGINX (host:port), NGINX_URL, NGINX_PID, NGINX_LOG (errors), NGINX_ACCESS_LOG; with --tls NGINX_CA, NGINX_CERT_DIR.
nginx_start() {
    local name=nginx upstream=${REGISTRY_URL-} blobs='' redirect='' root='' tls='' client_ca='' extra=''
    local dir port ca='' cert_dir='' scheme=http attempt place
    while (($#)); do
        case $1 in
        --name) name=$2 && shift ;;
        --upstream) upstream=$2 && shift ;;
        --blobs) blobs=$2 && shift ;;
        --redirect-blobs) redirect=$2 && shift ;;
        --root) root=$2 && shift ;;
        --tls) if [[ ${2-} && ${2-} != --* ]]; then tls=$2 && shift; else tls=server; fi ;;
        --client-ca) client_ca=$2 && shift ;;
        --extra) extra=$2 && shift ;;
        *) echo "nginx_start: unknown option $1" >&2 && return 2 ;;
        esac
        shift
    done
    dir=$(servers_dir "$name")
    mkdir -p "$dir" || return
    if [[ $tls ]]; then
        make_ca "$(servers_dir)/ca" || return
        scheme=https ca=$(servers_dir)/ca/ca.crt cert_dir=$dir/cert-dir
        mkdir -p "$cert_dir" && cp "$ca" "$cert_dir/ca.crt" || return
    fi
    # Nobody reserves a port for nginx between free_port and its bind, so a lost race is tried again.
    for attempt in 1 2 3; do
        port=$(free_port) || return
        {
            if ((EUID == 0)); then echo 'user root;'; fi # workers must reach a test directory that is root's alone
            cat << END
daemon off;
worker_processes 2;
pid "$dir/nginx.pid";
error_log "$dir/log";
events { worker_connections 512; }
http {
  access_log "$dir/access.log";
  default_type application/octet-stream;
  sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_max_body_size 0; proxy_buffering off; proxy_request_buffering off; proxy_http_version 1.1;
  proxy_set_header Connection ""; proxy_set_header Host \$http_host; proxy_set_header X-Forwarded-Proto \$scheme;
$(for place in client_body proxy fastcgi uwsgi scgi; do echo "  ${place}_temp_path \"$dir/$place\";"; done)
  server {
    listen 127.0.0.1:$port${tls:+ ssl http2};
END
            if [[ $tls ]]; then
                echo "    ssl_certificate \"${ca%/*}/$tls.crt\"; ssl_certificate_key \"${ca%/*}/$tls.key\";"
            fi
            if [[ $client_ca ]]; then echo "    ssl_client_certificate \"$client_ca\"; ssl_verify_client on;"; fi
            printf '    %s\n' "$extra"
            if [[ $blobs ]]; then
                cat << END
    location ~ "^/v2/.+/blobs/sha256:(?<two>[0-9a-f]{2})(?<rest>[0-9a-f]{62})\$" {
      alias "$blobs/docker/registry/v2/blobs/sha256/\$two/\$two\$rest/data";
      add_header Docker-Content-Digest "sha256:\$two\$rest" always;
    }
END
            elif [[ $redirect ]]; then
                echo "    location ~ ^/v2/.+/blobs/sha256:[0-9a-f]+\$ { return 307 $redirect\$request_uri; }"
            fi
            if [[ $root ]]; then echo "    root \"$root\";"; else echo "    location / { proxy_pass $upstream; }"; fi
            printf '  }\n}\n'
        } > "$dir/nginx.conf"
        rm -f "$dir/nginx.pid"
        server_spawn "$name" nginx -c "$dir/nginx.conf" -e "$dir/log" || return
        # nginx writes its pid file once it listens
        if server_wait "$name" test -s "$dir/nginx.pid"; then break; fi
        if ((attempt == 3)); then return 1; fi
    done
    server_publish NGINX "$name" URL "$scheme://127.0.0.1:$port" LOG "$dir/log" ACCESS_LOG "$dir/access.log" CA "$ca" \
        CERT_DIR "$cert_dir"
}

nginx_stop() { server_stop "${1:-nginx}"; }

# ----- the hostile registry -----

# scenario_file NAME|FILE: the path of a scenario; a bare NAME is looked up in scenarios/.
scenario_file() {
    if [[ $1 == */* || -e $1 ]]; then realpath "$1"; else printf '%s\n' "$SUPPORT_DIR/scenarios/$1.json"; fi
}

# hostile_start SCENARIO|- [--name NAME] [ARGUMENT]...: the hostile registry (`-`: it behaves). NAME is `hostile` by default.
# ARGUMENTs are its own; without --layout and --synthetic it serves demo:latest with 3 layers of 1 MiB.
# Exports HOSTILE (host:port of `main`), HOSTILE_URL, HOSTILE_CDN and HOSTILE_PLAIN (host:port of those listeners),
# HOSTILE_PID, HOSTILE_LOG (the request log).
hostile_start() {
    local scenario=$1 name=hostile dir listener urls=() arguments
    shift
    if [[ ${1-} == --name ]]; then name=$2; shift 2; fi
    dir=$(servers_dir "$name")
    mkdir -p "$dir" || return
    rm -f "$dir/ready.json" "$dir/requests.jsonl"
    arguments=(--port-file "$dir/ready.json" --log "$dir/requests.jsonl")
    if [[ " $* " != *" --layout"* && " $* " != *" --synthetic"* ]]; then arguments+=(--synthetic demo:3:1Mi); fi
    if [[ $scenario != - ]]; then arguments+=(--scenario "$(scenario_file "$scenario")"); fi
    server_spawn "$name" python3 "$SUPPORT_DIR/hostile_registry.py" "${arguments[@]}" "$@" || return
    server_wait "$name" test -s "$dir/ready.json" || return
    for listener in main cdn plain; do
        urls+=("$(sed -n "s/.*\"$listener\": {\"url\": \"\([^\"]*\)\".*/\1/p" "$dir/ready.json")")
    done
    server_publish HOSTILE "$name" URL "${urls[0]}" CDN "${urls[1]#*://}" PLAIN "${urls[2]#*://}" LOG "$dir/requests.jsonl"
}

# hostile_scenario NAME|FILE|JSON: replace the scenario of the running hostile registry and zero its rules' counts.
hostile_scenario() {
    local data=$1
    if [[ $data != \{* ]]; then data=@$(scenario_file "$1"); fi
    hostile_admin scenario --data-binary "$data"
}

# hostile_stats: its counters, as JSON. hostile_reset: zero them and forget tokens.
hostile_stats() { hostile_admin stats; }
hostile_reset() { hostile_admin reset -X POST; }

# hostile_requests: its request log, JSON lines, complete up to what clients have seen, in the order in which requests came.
hostile_requests() {
    hostile_stats > /dev/null && LC_ALL=C sort "$HOSTILE_LOG" # every line begins with the time
}

hostile_admin() {
    curl --silent --show-error --fail-with-body --max-time 10 "${@:2}" "http://$HOSTILE_PLAIN/_hostile/$1" && echo
}

hostile_stop() { server_stop "${1:-hostile}"; }
