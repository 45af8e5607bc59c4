"""HTTP requests as they came in and responses as they will go out."""

import email.utils
import json
import re
import time
import urllib.parse

from hostile.body import Body
from hostile.config import ConfigError

REASONS = {
    200: "OK", 206: "Partial Content", 301: "Moved Permanently", 302: "Found", 303: "See Other",
    304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request",
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    407: "Proxy Authentication Required", 410: "Gone",
    416: "Range Not Satisfiable", 429: "Too Many Requests", 500: "Internal Server Error",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}
ERROR_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 405: "UNSUPPORTED",
               416: "RANGE_INVALID", 429: "TOOMANYREQUESTS", 503: "UNAVAILABLE"}
UNKNOWN_CODES = {"blob": "BLOB_UNKNOWN", "manifest": "MANIFEST_UNKNOWN"}

ROUTES = (("ping", re.compile(r"/v2/?")), ("token", re.compile(r"/token")),
          ("manifest", re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")),
          ("blob", re.compile(r"/v2/(?P<name>.+)/blobs/(?P<reference>[^/]+)")),
          ("tags", re.compile(r"/v2/(?P<name>.+)/tags/list")))
KINDS = {kind for kind, _ in ROUTES} | {"connect", "tunnel", "other"}


def etag(resource):
    return f'"{resource.digest}"'


class Request:
    """One request as it came in; also the bare connection, of kind "connect" and method ""."""

    def __init__(self, listener, method="", target="", headers=(), body=b""):
        self.listener, self.method, self.target, self.body = listener, method, target, body
        self.headers = {}
        for name, value in headers:
            name = name.lower()
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self.proxied = bool(re.match(r"https?://", target))
        path = re.sub(r"https?://[^/?]*", "", target, count=1) if self.proxied else target
        self.path, _, self.query = path.partition("?")
        self.kind, self.name, self.reference = "other" if method else "connect", "", ""
        if method == "CONNECT":
            self.kind, method = "tunnel", ""
        decoded = urllib.parse.unquote(self.path)
        for kind, pattern in ROUTES:
            if method and (match := pattern.fullmatch(decoded)):
                self.kind = kind
                self.name = match.groupdict().get("name", "")
                self.reference = match.groupdict().get("reference", "")
                break

    def parameters(self, text=None):
        return urllib.parse.parse_qs(self.query if text is None else text)

    def expand(self, text, values=()):
        """Replace {word} and {word:argument}; what is not ours, such as JSON, stays."""
        values = dict(values, path=self.path, target=self.target, name=self.name,
                      reference=self.reference)

        def replace(match):
            word, argument = match[1], match[2]
            if word == "date":
                return email.utils.formatdate(time.time() + int(argument or 0), usegmt=True)
            if word in ("url", "authority", "port"):
                if argument and argument not in self.listener.peers:
                    raise ConfigError(f"no listener {argument!r}")
                listener = self.listener.peers[argument] if argument else self.listener
                authority = listener.authority
                if listener is self.listener:  # as the client calls us
                    authority = self.headers.get("host", authority)
                return {"url": f"{listener.scheme}://{authority}", "authority": authority,
                        "port": str(listener.port)}[word]
            return str(values[word]) if word in values else match[0]

        return re.sub(r"\{([a-z]+)(?::([^{}\"]*))?\}", replace, text)

    def byte_range(self, resource):
        """The single range asked for as (first, last), None without one, () if not satisfiable."""
        value, size = self.headers.get("range", ""), resource.body.size
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", value.replace(" ", ""))
        if self.method != "GET" or not match or not (match[1] or match[2]):
            return None
        if self.headers.get("if-range", etag(resource)) != etag(resource):
            return None
        if not match[1]:
            first, last = max(0, size - int(match[2])), size - 1
        else:
            first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
            if match[2] and int(match[2]) < first:
                return None
        return (first, last) if first <= last else ()


class Response:
    """What is about to be sent. Content-Length and Transfer-Encoding are added at the end."""

    def __init__(self, status, headers=(), body=None):
        self.status = status
        self.headers = [*headers]
        self.body = Body() if body is None else body
        self.lengths = None  # Content-Length values instead of the true one
        self.framing = "length"
        self.close = False

    @classmethod
    def json(cls, status, document, headers=()):
        return cls(status, [("Content-Type", "application/json"), *headers],
                   Body.of_bytes(json.dumps(document).encode()))

    @classmethod
    def error(cls, status, kind="", code=None, message=None, headers=()):
        code = code or UNKNOWN_CODES.get(kind if status == 404 else "")
        code = code or ERROR_CODES.get(status, "UNKNOWN")
        message = message or REASONS.get(status, "error").lower()
        return cls.json(status, {"errors": [{"code": code, "message": message, "detail": None}]},
                        headers)

    def set(self, name, values):
        self.headers = [h for h in self.headers if h[0].lower() != name.lower()]
        self.headers += [(name, value) for value in values]

    def head(self):
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Status')}",
                 "Date: " + email.utils.formatdate(usegmt=True),
                 "Docker-Distribution-Api-Version: registry/2.0"]
        lines += [f"{name}: {value}" if name else value for name, value in self.headers]
        if self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        elif self.framing == "length" and self.status not in (204, 304):
            lengths = [self.body.size] if self.lengths is None else self.lengths
            lines += [f"Content-Length: {length}" for length in lengths]
        if self.close:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
