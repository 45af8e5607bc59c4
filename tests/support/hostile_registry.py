#!/usr/bin/env python3
"""A container registry that misbehaves on request.

It serves images over the registry API v2 (OCI distribution-spec 1.1, pull side) correctly, except
where a rule of its scenario says otherwise, and writes down every request that it saw. It needs
Python 3.11 and the folder hostile/ beside it, and nothing else.

    hostile_registry.py --synthetic demo:3:1Mi --scenario scenarios/h02-rst-mid-body.json --log seen.jsonl

prints one line of JSON when it is ready, {"pid", "listeners": {NAME: {"url", "host", "port"}},
"images": [{"name", "tag", "digest"}]}, and serves until SIGTERM or SIGINT.

LISTENERS. Three always exist: `main`, `cdn` (another origin, for redirects) and `plain` (always
http). They are on 127.0.0.1 at free ports unless `--listen NAME=URL` says otherwise; further names
may be added. With --tls-cert, those without a scheme of their own (except `plain`) speak TLS, and
with --http2 also HTTP/2. With the scheme hole:// nobody answers there, not even the kernel.

PROXY. Every listener is a proxy too: it takes requests for whole URLs, and CONNECT, and whatever
host they name is this registry (a tunnel leads to the listener that has the port).

SCENARIO. A JSON object; unknown keys are refused.

    {"title": "what this is",
     "auth":  {"mode": "bearer", "expires_in": 5},
     "rules": [{"match":  {"kind": "blob", "blob": "layer:0", "times": 2},
                "action": {"close": 0.5}}]}

The first rule that applies to a request is carried out; a request without one is answered honestly.

`match`: every key given must hold.
    kind       connect|ping|token|manifest|blob|tags|tunnel|other, or a list. "connect" is the moment
               after accept, before TLS; of the actions it takes delay, close, rst and stall. Give
               it a listener too, or the admin requests meet it as well. "tunnel" is a CONNECT
    listener   name, or a list                    method     GET, or a list
    path       regex, whole path, no query        query      regex, searched in the query string
    name       regex, whole repository name       reference  regex, whole tag or digest
    blob       "config", "layer:0", "layer:-1" (the last), "layer" (any), a digest, or a list
    has/lacks  header names that must (not) be there
    headers    {name: regex searched in the value}
    denied     true: requests that fail the auth check; without it a rule sees only the others
    nth: N     only the Nth match                 times: K   only the first K matches
    skip: N    not the first N                    every: N   of the rest, the 1st, N+1st, 2N+1st...
    per        "path": count matches for each path apart (default: one count for the rule)

`action`: what is served ...
    status         300 and above: replaces the reply by an OCI error body; below: just the number
    error          OCI error code in that body        message   its text
    body, body_base64, body_file   these bytes, with `status` as they are, without it in the place
                   of the manifest or blob (Range still works)
    swap           the content of another blob of the image ("layer:1") or another manifest (tag)
    flip           position of a byte, or a list, whose lowest bit is flipped (in the whole blob)
    resize         +N: append N junk bytes to the blob, -N: cut N bytes off; lengths agree with it
    ignore_range   true: 200 and everything
    range          {"start": d, "end": d, "total": d}: added to what was asked; the bytes follow the
                   header ("total" may be "*")
    content_range  list of Content-Range values instead of the true one; [] for none
    multipart      true: the part as multipart/byteranges
    redirect       Location; status is 307 unless `status` says otherwise
    chain          N: redirect N times (to `redirect`, default "{path}"), then answer
    gzip           true: the reply gzipped, with Content-Encoding
    headers        {name: value, list of values, or null to remove}
    raw_headers    list of header lines sent as they are
    content_length number, "+N"/"-N" from the truth, any other text, or a list for several lines
    framing        "chunked" or "close": no Content-Length
    raw            this text (Latin-1) instead of any response, then close
... and how it is sent
    delay          seconds before anything
    rate           bytes per second          piece   bytes per write (default: rate / 20)
    close, rst, stall   where to end the connection in order, by reset, or to say no more:
                   "start", "mid-headers", or a position in the body. A reset may destroy bytes
                   that were sent before it, so the client sees that many or fewer
    rst_stream     the same by RST_STREAM, HTTP/2 only; h2_error is its code (default: 2)
    goaway         here goes a GOAWAY with h2_error (default: 0) and last_stream (default: the last
                   there is); what it disowns ends here with the connection, else the reply goes on
    stall_seconds  stall only so long, then go on (default: until the client leaves); over HTTP/2
                   only the reply stalls, and there are PINGs
    gone           after this reply the listener is dead and its connections end: "refuse"
                   connections, or a "hole" that never accepts any
In a tunnel positions count what comes back through it, and fractions are of a MiB.
A position is a number of bytes, negative from the end, or a fraction such as 0.5.

Texts may hold {url:LISTENER} {authority:LISTENER} {port:LISTENER} (without a name: this one),
{path} {target} (with query) {name} {reference} {nth} {start} {end} {total} and {date:+N}, an HTTP
date N seconds from now.

`auth`: mode none|basic|bearer, user, password, expires_in (seconds, default 300), realm, service,
    open_ping (true: /v2/ needs nothing), expired_status (default 401), identity_token (accepted as
    refresh token), token_key ("token" or "access_token"), listeners (which ask; default ["main"]).
Tokens come from /token, are good for the repositories they were asked for, and are counted.

LOG. One JSON object per exchange, written when it is over: time (of its beginning, and the first
key, so that `sort` brings lines into that order), listener, connection, kind, method, path, query,
headers (names in lower case), status, rule, sent (body bytes handed to the kernel), seconds, and
end: complete|close|rst|client-gone|stopped|tls-failed.

ADMIN, for loopback peers: GET /_hostile/stats counts everything (and first waits until what is
being answered has reached the log), POST /_hostile/scenario loads one, POST /_hostile/reset zeroes
counters and forgets tokens. Admin requests are neither logged nor counted, and are HTTP/1.1.
Among the counters "seconds" tells how many body bytes were handed to the kernel in each second of
the clock; with a small --send-buffer that is close to what clients have taken. "unheard" tells how
many attempts to connect (SYNs, the repeated ones too) each hole has met.
"""

import argparse
import json
import os
import re
import resource
import signal
import ssl
import sys
import tempfile

sys.dont_write_bytecode = True  # the source tree stays as it is
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from hostile.config import ConfigError
from hostile.images import ImageStore, Synthetic
from hostile.scenario import Scenario
from hostile.server import Server


def parse_size(text):
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi|K|M|G)?", text)
    if not match:
        raise ConfigError(f"not a size: {text!r}")
    unit = {None: 1, "K": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
    return int(match[1]) * unit[match[2]]


def tls_context(options):
    if not options.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
        if options.tls_client_ca:
            context.load_verify_locations(options.tls_client_ca)
            optional = options.tls_client_optional
            context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
        if options.http2:
            context.set_alpn_protocols(["h2", "http/1.1"])
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"TLS files: {error}") from error
    return context


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--layout", action="append", default=[], metavar="NAME=DIR[:TAG]",
        help="serve an OCI image layout under this name; repeatable")
    add("--synthetic", action="append", default=[],
        metavar="NAME:LAYERS:BYTES[+LAYERS:BYTES]...[:SEED]",
        help="make and serve an image NAME:latest with layers of exactly BYTES (K M G Ki Mi Gi)")
    add("--write-layout", metavar="DIR", help="write the synthetic image there and exit")
    add("--scenario", metavar="FILE", help="how to misbehave (default: not at all)")
    add("--listen", action="append", default=[], metavar="[NAME=][SCHEME://]HOST:PORT",
        help="where a listener is, port 0 for any free one; repeatable (default name: main)")
    add("--tls-cert", metavar="FILE", help="certificate (chain), PEM")
    add("--tls-key", metavar="FILE", help="its key")
    add("--tls-client-ca", metavar="FILE", help="ask for client certificates of this CA")
    add("--tls-client-optional", action="store_true", help="... but do not insist")
    add("--http2", action="store_true", help="speak HTTP/2 with TLS clients that offer it")
    add("--send-buffer", type=int, metavar="BYTES", help="how much the kernel may hold per connection")
    add("--auth", choices=["none", "basic", "bearer"], help="beats the scenario's auth mode")
    add("--user", metavar="USER:PASSWORD", help="the credentials that basic and /token want")
    add("--expires-in", type=float, metavar="SECONDS", help="lifetime of issued tokens")
    add("--log", metavar="FILE", help="append the request log here, JSON lines")
    add("--port-file", metavar="FILE", help="write the ready line here too")
    return parser.parse_args(arguments)


def load_images(options, scratch):
    store = ImageStore()
    for spec in options.layout:
        store.add_layout(spec)
    for number, spec in enumerate(options.synthetic):
        match = re.fullmatch(r"([^:]+):(\d+:\w+(?:\+\d+:\w+)*)(?::([^:]*))?", spec)
        if not match:
            raise ConfigError(
                f"--synthetic wants NAME:LAYERS:BYTES[+LAYERS:BYTES]...[:SEED], got {spec!r}")
        groups = [group.split(":") for group in match[2].split("+")]
        sizes = [parse_size(size) for layers, size in groups for _ in range(int(layers))]
        directory = options.write_layout or os.path.join(scratch, str(number))
        Synthetic(sizes, match[3] or "0").write(directory, "latest")
        store.repositories[match[1]].add_layout(directory, None)
    if not store.repositories:
        raise ConfigError("nothing to serve: give --layout or --synthetic")
    return store


def ready_line(server):
    listeners = {name: {"url": f"{listener.scheme}://{listener.authority}", "host": listener.host,
                        "port": listener.port} for name, listener in server.listeners.items()}
    images = [{"name": name, "tag": tag, "digest": digest}
              for name, repository in server.store.repositories.items()
              for tag, digest in repository.tags.items()]
    return json.dumps({"pid": os.getpid(), "listeners": listeners, "images": images})


def run(options, scratch):
    if options.write_layout and len(options.synthetic) != 1:
        raise ConfigError("--write-layout goes with one --synthetic")
    auth_options = {}
    if options.auth:
        auth_options["mode"] = options.auth
    if options.user:
        auth_options["user"], _, auth_options["password"] = options.user.partition(":")
    if options.expires_in is not None:
        auth_options["expires_in"] = options.expires_in
    scenario = (Scenario.load(options.scenario, auth_options) if options.scenario
                else Scenario({}, ".", auth_options))
    store = load_images(options, scratch)
    if options.write_layout:
        return
    tls = tls_context(options)
    urls = {"main": "127.0.0.1:0", "cdn": "127.0.0.1:0", "plain": "http://127.0.0.1:0"}
    for spec in options.listen:
        name, equals, url = spec.partition("=")
        urls[name if equals else "main"] = url if equals else spec
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    server = Server(urls, tls, store, scenario, auth_options, options.log, options.send_buffer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    line = ready_line(server)
    if options.port_file:
        with open(options.port_file + ".new", "w", encoding="utf-8") as file:
            file.write(line + "\n")
        os.replace(options.port_file + ".new", options.port_file)
    print(line, flush=True)
    server.serve()


def main():
    options = parse_arguments(sys.argv[1:])
    try:
        with tempfile.TemporaryDirectory(prefix="hostile-") as scratch:
            run(options, scratch)
    except ConfigError as error:
        print(f"hostile_registry: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
