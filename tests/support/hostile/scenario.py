"""How to misbehave: the rules of a scenario. The format is described in hostile_registry.py."""

import base64
import collections
import gzip
import hashlib
import json
import os
import re
import threading

from hostile.auth import Auth
from hostile.body import Body
from hostile.config import ConfigError, as_list, refuse_unknown
from hostile.images import DIGEST, Resource
from hostile.message import KINDS, Response


class Action:
    """What a rule does to a reply and to the way it is sent."""

    BODIES = {"body", "body_base64", "body_file"}
    ENDS = {"close", "rst", "stall", "rst_stream", "goaway"}
    SENDING = ENDS | {"delay", "rate", "piece", "stall_seconds", "h2_error", "last_stream", "gone"}
    KEYS = SENDING | BODIES | {
        "status", "error", "message", "swap", "flip", "resize", "ignore_range", "range",
        "content_range", "multipart", "redirect", "chain", "gzip", "headers", "raw_headers",
        "content_length", "framing", "raw"}

    def __init__(self, spec=None, where="", base="."):
        self.spec = spec = spec or {}
        refuse_unknown(spec, self.KEYS, where)
        for group in (self.ENDS, self.BODIES):
            if len(group & spec.keys()) > 1:
                raise ConfigError(f"{where}: only one of {', '.join(sorted(group))}")
        for key in self.ENDS & spec.keys():
            if not isinstance(spec[key], (int, float)) and spec[key] not in ("start", "mid-headers"):
                raise ConfigError(f"{where}: {key}: {spec[key]!r} is no position")
            self.end, self.end_at = key, spec[key]
            break
        else:
            self.end, self.end_at = "complete", None
        if spec.get("gone", "refuse") not in ("refuse", "hole"):
            raise ConfigError(f"{where}: gone is refuse or hole")
        if spec.get("framing", "close") not in ("close", "chunked"):
            raise ConfigError(f"{where}: framing is close or chunked")
        refuse_unknown(spec.get("range", {}), {"start", "end", "total"}, f"{where}: range")
        if spec.get("rate", 1) <= 0 or spec.get("piece", 1) <= 0:
            raise ConfigError(f"{where}: rate and piece are above 0")
        try:
            self.body = self.load_body(base)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{where}: {error}") from error

    def load_body(self, base):
        if "body_file" in self.spec:
            with open(os.path.join(base, self.spec["body_file"]), "rb") as file:
                return file.read()
        if "body_base64" in self.spec:
            return base64.b64decode(self.spec["body_base64"], validate=True)
        return self.spec["body"].encode() if "body" in self.spec else None

    def get(self, key, default=None):
        return self.spec.get(key, default)

    def new_body(self, request, nth):
        if "body" in self.spec:
            return Body.of_bytes(request.expand(self.spec["body"], {"nth": nth}).encode())
        return None if self.body is None else Body.of_bytes(self.body)

    def alter_resource(self, request, resource, store, nth):
        """Change the manifest or blob itself, before a range is cut out of it."""
        if (swap := self.get("swap")) and not (resource := store.find(request, swap)):
            raise ConfigError(f"swap: no {request.kind} {swap!r}")
        body = resource.body
        if "status" not in self.spec:
            body = self.new_body(request, nth) or body
        for spot in as_list(self.get("flip", [])):
            body = body.flipped(spot)
        resize = self.get("resize", 0)
        body = body + Body.of_bytes(b"x" * resize) if resize > 0 else body.cut(0, body.size + resize)
        digest = request.reference
        if not DIGEST.fullmatch(digest):  # a tag may lead anywhere, and says honestly where
            same = body.segments == resource.body.segments
            digest = resource.digest if same else "sha256:" + hashlib.sha256(body.read()).hexdigest()
        return Resource(body, resource.media_type, digest)

    def replacement(self, request, nth):
        """The response that takes the place of the honest one, or None."""
        if "redirect" in self.spec or "chain" in self.spec:
            location = request.expand(self.get("redirect", "{path}"), {"nth": nth})
            if "chain" in self.spec:
                hop = int(request.parameters().get("hop", ["0"])[0])
                if hop >= self.spec["chain"]:
                    return None
                location += f"?hop={hop + 1}"
            return Response(self.get("status", 307), [("Location", location)])
        status = self.get("status", 0)
        body = self.new_body(request, nth) if status else None
        if body is not None:
            return Response(status, [("Content-Type", "application/octet-stream")], body)
        if status >= 300:
            return Response.error(status, request.kind, self.get("error"), self.get("message"))
        return None

    def alter_response(self, request, response, nth):
        if "status" in self.spec and response.status < 300:
            response.status = self.spec["status"]
        if self.get("gzip"):
            response.body = Body.of_bytes(gzip.compress(response.body.read(), mtime=0))
            response.set("Content-Encoding", ["gzip"])
        for name, values in self.get("headers", {}).items():
            values = [] if values is None else as_list(values)
            response.set(name, [request.expand(str(v), {"nth": nth}) for v in values])
        for line in self.get("raw_headers", []):
            response.headers.append(("", request.expand(line, {"nth": nth})))
        response.framing = self.get("framing", "length")
        if "content_length" in self.spec:
            response.lengths = [
                response.body.size + int(value) if re.fullmatch(r"[+-]\d+", str(value))
                and isinstance(value, str) else value
                for value in as_list(self.spec["content_length"])]
        # Neither side knows where the next message would begin.
        response.close = response.framing == "close" or response.lengths not in (
            None, [response.body.size])


class Rule:
    """A condition, a count of the requests that met it, and the action for those in its window."""

    KEYS = {"kind", "listener", "method", "path", "query", "name", "reference", "blob", "has",
            "lacks", "headers", "denied", "nth", "times", "skip", "every", "per"}

    def __init__(self, spec, number, base):
        where = f"rule {number}"
        refuse_unknown(spec, {"match", "action", "id"}, where)
        self.id = spec.get("id", number)
        self.match = match = spec.get("match", {})
        refuse_unknown(match, self.KEYS, f"{where}: match")
        refuse_unknown(as_list(match.get("kind", [])), KINDS, f"{where}: kind")
        if "nth" in match and match.keys() & {"times", "skip", "every"}:
            raise ConfigError(f"{where}: nth goes without times, skip and every")
        if match.get("per", "path") != "path":
            raise ConfigError(f"{where}: per is path")
        self.skip = match["nth"] - 1 if "nth" in match else match.get("skip", 0)
        self.times = 1 if "nth" in match else match.get("times", float("inf"))
        self.every = match.get("every", 1)
        self.action = Action(spec.get("action", {}), f"{where}: action", base)
        if match.get("kind") == "connect":
            refuse_unknown(self.action.spec, {"close", "rst", "stall", "delay", "stall_seconds"},
                           f"{where}: action on connect")
        self.patterns = {key: re.compile(match[key])
                         for key in ("path", "query", "name", "reference") if key in match}
        self.headers = {name.lower(): re.compile(pattern)
                        for name, pattern in match.get("headers", {}).items()}
        self.lock = threading.Lock()
        self.reset()

    def reset(self):
        with self.lock:
            self.matched = collections.Counter()  # by path, or all under ""
            self.applied = 0

    def holds(self, request, denied, store):
        match, found = self.match, request.headers
        if (denied != match.get("denied", False)
                or request.kind not in as_list(match.get("kind", [*KINDS - {"connect"}]))
                or "listener" in match and request.listener.name not in as_list(match["listener"])
                or "method" in match and request.method not in as_list(match["method"])
                or any(name.lower() not in found for name in match.get("has", []))
                or any(name.lower() in found for name in match.get("lacks", []))
                or any(not p.search(found.get(n, "")) for n, p in self.headers.items())
                or "blob" in match and (request.kind != "blob" or not
                                        store.labels(request) & set(as_list(match["blob"])))):
            return False
        return all(pattern.search(request.query) if key == "query"
                   else pattern.fullmatch(getattr(request, key))
                   for key, pattern in self.patterns.items())

    def take(self, request, denied, store):
        """Count the request if it matches; the number of this match if the rule applies, else 0."""
        if not self.holds(request, denied, store):
            return 0
        with self.lock:
            key = request.path if self.match.get("per") == "path" else ""
            self.matched[key] += 1
            nth = self.matched[key]
            late = nth - self.skip - 1
            if not 0 <= late < self.times or late % self.every:
                return 0
            self.applied += 1
            return nth


class Scenario:
    """Rules and auth settings, checked when loaded."""

    def __init__(self, document, base=".", auth_options=()):
        if not isinstance(document, dict):
            raise ConfigError("a scenario is a JSON object")
        refuse_unknown(document, {"title", "auth", "rules"}, "scenario")
        self.title = document.get("title", "")
        try:
            self.auth = Auth({**document.get("auth", {}), **dict(auth_options)})
            self.rules = [Rule(spec, number, base)
                          for number, spec in enumerate(document.get("rules", []))]
        except (TypeError, AttributeError, ValueError, re.error) as error:
            raise ConfigError(f"scenario: {error}") from error

    @classmethod
    def load(cls, path, auth_options):
        try:
            with open(path, "rb") as file:
                document = json.load(file)
        except (OSError, ValueError) as error:
            raise ConfigError(f"scenario {path}: {error}") from error
        return cls(document, os.path.dirname(path) or ".", auth_options)

    def pick(self, request, denied, store):
        for rule in self.rules:
            if nth := rule.take(request, denied, store):
                return rule, nth
        return None, 0

    def reset(self):
        self.auth.reset()
        for rule in self.rules:
            rule.reset()
