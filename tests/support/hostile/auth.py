"""Who is let in, and the token server."""

import base64
import hmac
import re
import secrets
import time

from hostile.config import ConfigError, refuse_unknown
from hostile.message import Response


class Auth:
    """Decides who is let in, and issues tokens."""

    DEFAULTS = {"mode": "none", "user": None, "password": None, "expires_in": 300,
                "realm": "{url}/token", "service": "hostile", "open_ping": False,
                "expired_status": 401, "identity_token": None, "token_key": "token",
                "listeners": ["main"]}

    def __init__(self, settings):
        refuse_unknown(settings, self.DEFAULTS, "auth")
        self.settings = {**self.DEFAULTS, **settings}
        if self.settings["mode"] not in ("none", "basic", "bearer"):
            raise ConfigError("auth: mode is none, basic or bearer")
        if self.settings["mode"] == "basic" and self.settings["user"] is None:
            raise ConfigError("auth: mode basic needs user and password")
        self.reset()

    def reset(self):
        self.tokens = {}  # token -> (repositories, expiry); dict operations are atomic
        self.issued = self.refused = 0

    def known_user(self, user, password):
        want = f"{self.settings['user']}:{self.settings['password']}"
        return hmac.compare_digest(f"{user}:{password}".encode(), want.encode())

    def basic_user(self, request):
        """True or False for good or bad Basic credentials, None without any."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return False
        return self.known_user(user, password)

    def check(self, request):
        """None when the request is let in, else the response that refuses it."""
        settings = self.settings
        if (settings["mode"] == "none" or request.kind in ("token", "connect")
                or request.listener.name not in settings["listeners"]
                or request.kind == "ping" and settings["open_ping"]):
            return None
        if settings["mode"] == "basic":
            if self.basic_user(request):
                return None
            return Response.error(401, headers=[("WWW-Authenticate", 'Basic realm="hostile"')])
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        challenge = f'Bearer realm="{request.expand(settings["realm"])}"'
        challenge += f',service="{settings["service"]}"'
        if request.name:
            challenge += f',scope="repository:{request.name}:pull"'
        status = 401
        if scheme.lower() == "bearer":
            repositories, expiry = self.tokens.get(token, (set(), float("inf")))
            expired = time.monotonic() >= expiry
            if token in self.tokens and not expired:
                if not request.name or request.name in repositories:
                    return None
                challenge += ',error="insufficient_scope"'
            else:
                status = settings["expired_status"] if expired else 401
                challenge += ',error="invalid_token"'
        return Response.error(status, headers=[("WWW-Authenticate", challenge)])

    def issue(self, request):
        """Answer /token: GET with Basic credentials, or POST with an OAuth2 form."""
        form = request.parameters(request.body.decode("latin-1")) if request.method == "POST" else {}
        field = lambda key: form.get(key, [""])[0]
        allowed = self.basic_user(request)
        if field("grant_type") == "password":
            allowed = self.known_user(field("username"), field("password"))
        elif field("grant_type") == "refresh_token":
            allowed = field("refresh_token") == self.settings["identity_token"]
        if not (allowed or allowed is None and self.settings["user"] is None):
            self.refused += 1
            return Response.error(401, headers=[("WWW-Authenticate", 'Basic realm="token"')])
        scopes = " ".join(form.get("scope", []) + request.parameters().get("scope", [])).split()
        repositories = {match[1] for scope in scopes
                        if (match := re.fullmatch(r"repository:(.+):(.*)", scope))
                        and {"pull", "*"} & set(match[2].split(","))}
        token, lifetime = secrets.token_urlsafe(24), self.settings["expires_in"]
        self.tokens[token] = (repositories, time.monotonic() + lifetime)
        self.issued += 1
        return Response.json(200, {
            self.settings["token_key"]: token, "expires_in": lifetime,
            "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
