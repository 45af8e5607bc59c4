#!/usr/bin/env python3
"""Issues the signed tokens that docker-registry's `auth: token` accepts.

    token_server.py --key KEY.pem --cert CERT.pem --user U:P [--expires-in SECONDS] [--listen HOST:PORT]

prints one line of JSON, {"pid", "url"}, when it is ready. Whoever has the credentials gets what was
asked for; whoever has none gets "pull" with --anonymous-pull and a 401 without. Tokens are JWTs
(Docker's "Token Authentication Implementation"), RS256, signed by the openssl command; the
certificate travels in the header as x5c, so the registry's rootcertbundle is that certificate.
"""

import argparse
import base64
import http.server
import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.parse

# docker-registry 2.8 accepts a token for this long after its expiry; a short lifetime can be kept
# to only by a token that seems to have expired already.
REGISTRY_LEEWAY_SECONDS = 60


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Signer:
    """Makes JWTs."""

    def __init__(self, key, certificate):
        self.key = key
        with open(certificate, encoding="ascii") as file:
            pem = re.search(r"-----BEGIN CERTIFICATE-----(.*?)-----END", file.read(), re.DOTALL)
        self.x5c = re.sub(r"\s", "", pem[1])

    def sign(self, claims):
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self.x5c]}
        signed = b".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=signed,
                                   stdout=subprocess.PIPE, check=True).stdout
        return (signed + b"." + base64url(signature)).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    """GET /token with Basic credentials, or POST with an OAuth2 password form."""

    protocol_version = "HTTP/1.1"
    options = signer = None  # set by main()

    def reply(self, status, document):
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="token server"')
        self.end_headers()
        self.wfile.write(data)

    def credentials(self, fields):
        """ "user:password" as given, or None. """
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            return base64.b64decode(value).decode()
        if "username" in fields:
            return f"{fields['username'][0]}:{fields.get('password', [''])[0]}"
        return None

    def issue(self, fields):
        given, options = self.credentials(fields), self.options
        if given != options.user and (given or not options.anonymous_pull):
            self.reply(401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]})
            return
        access = []
        for scope in " ".join(fields.get("scope", [])).split():
            kind, name, actions = scope.split(":", 1)[0], *scope.split(":", 1)[1].rsplit(":", 1)
            allowed = [a for a in actions.split(",") if given or a == "pull"]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        token = self.signer.sign({
            "iss": options.issuer, "sub": (given or "").partition(":")[0],
            "aud": fields.get("service", [options.service])[0], "nbf": now - 1, "iat": now,
            "exp": now + options.expires_in - REGISTRY_LEEWAY_SECONDS,
            "jti": secrets.token_hex(8), "access": access})
        self.reply(200, {"token": token, "access_token": token, "expires_in": options.expires_in,
                         "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))})

    def do_GET(self):
        self.issue(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.issue(urllib.parse.parse_qs(body.decode()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--key", required=True, metavar="FILE", help="RSA key, PEM")
    parser.add_argument("--cert", required=True, metavar="FILE", help="its certificate, PEM")
    parser.add_argument("--user", required=True, metavar="USER:PASSWORD")
    parser.add_argument("--issuer", default="token-server")
    parser.add_argument("--service", default="registry")
    parser.add_argument("--expires-in", type=int, default=300, metavar="SECONDS")
    parser.add_argument("--anonymous-pull", action="store_true")
    Handler.options = options = parser.parse_args()
    Handler.signer = Signer(options.key, options.cert)
    host, _, port = options.listen.rpartition(":")
    server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
    url = f"http://{host}:{server.server_address[1]}/token"
    print(json.dumps({"pid": os.getpid(), "url": url}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
