"""The registry: honest by itself, and hostile where a rule applies."""

import ipaddress
import itertools
import json
import os
import select
import socket
import ssl
import struct
import threading
import time
import urllib.parse

from hostile.body import Body, position
from hostile.config import ConfigError
from hostile.connection import ClientGone, Connection, Stopping
from hostile.http2 import Http2
from hostile.images import Resource
from hostile.journal import Journal
from hostile.message import Request, Response, etag
from hostile.scenario import Action, Scenario
from hostile.tunnel import Tunnel

HONEST = Action()
STOP_SECONDS = 2.0
SO_MEMINFO = 55  # socket(7) does not tell; SK_MEMINFO_DROPS is the 9th of its numbers


class Handler:
    """Serves one connection in a thread of its own."""

    def __init__(self, server, connection):
        self.server, self.connection, self.store = server, connection, server.store

    def run(self):
        how = "client-gone"
        try:
            how = self.exchange(Request(self.connection.listener))
            if how is None and self.connection.speaks_http2():
                how = Http2(self.connection, lambda stream: Http2Handler(self.server, stream)).run()
            while how is None:
                how = self.exchange(self.connection.read_request())
        except (ClientGone, OSError):
            pass
        finally:
            self.connection.finish(how)

    def exchange(self, request):
        """Answer one request and log it; None if the connection lives on, else how it ends."""
        if request.path.startswith("/_hostile/"):
            return self.admin(request)
        entry = {"time": time.time(), "listener": request.listener.name,
                 "connection": self.connection.number, "kind": request.kind,
                 "method": request.method, "path": request.path, "query": request.query,
                 "headers": request.headers, "status": None, "rule": None}
        begin, end = time.monotonic(), "client-gone"
        self.connection.sent = 0
        self.server.journal.add_busy(1)
        try:
            end, keep = self.answer(request, entry)
            return None if end == "complete" and keep else end
        except Stopping:
            end = "stopped"
            return end
        except ssl.SSLError as error:
            if not request.method:
                end = "tls-failed"
                entry["error"] = str(error)
            return end
        except (ClientGone, OSError):
            return end
        finally:
            entry.update(sent=self.connection.sent, seconds=round(time.monotonic() - begin, 3),
                         end=end)
            if request.method or end != "complete":
                self.server.journal.write(entry)
            self.server.journal.add_busy(-1)

    def answer(self, request, entry):
        """Carry out the rule that applies, or none; return (end, whether to keep the connection)."""
        scenario, action = self.server.scenario, HONEST
        try:
            refusal = scenario.auth.check(request)
            rule, nth = scenario.pick(request, refusal is not None, self.store)
            if rule:
                action, entry["rule"] = rule.action, rule.id
            if "delay" in action.spec:
                self.connection.wait(action.spec["delay"])
            if request.kind == "connect":
                if action.end == "complete" or not self.end(action):
                    self.connection.handshake()
                    return "complete", True
                return action.end, False
            if name := self.connection.client_name():
                entry["client_cert"] = name
            if "raw" in action.spec:
                self.connection.send(action.spec["raw"].encode("latin-1", "replace"))
                return "close", False
            response = (action.replacement(request, nth) or refusal
                        or self.honest(request, action, nth))
            action.alter_response(request, response, nth)
        except ConfigError as error:  # a mistake that shows only now, such as an unknown listener
            response = Response.error(500, message=f"scenario: {error}")
        response.close |= request.headers.get("connection", "").lower() == "close"
        entry["status"] = response.status
        ended = self.transmit(request, response, action)
        if "gone" in action.spec:
            self.server.forsake(request.listener, action.spec["gone"])
            return ended[0], False
        return ended

    def end(self, action):
        """End here as the action says; False if it was a stall that is over."""
        if action.end == "stall":
            self.connection.wait(action.get("stall_seconds"))
            return False
        return True

    def transmit(self, request, response, action):
        if request.kind == "tunnel" and response.status == 200:
            return Tunnel(self.connection, self.server).carry(request, action)
        connection, chunked = self.connection, response.framing == "chunked"
        head = response.head()
        body = Body() if request.method == "HEAD" or response.status in (204, 304) else response.body
        lead, done = len(head), body.size
        if action.end_at in ("start", "mid-headers"):
            lead, done = (0 if action.end_at == "start" else len(head) // 2), 0
        elif action.end_at is not None:
            done = position(action.end_at, body.size)
        sending = (chunked, action.get("rate"), action.get("piece"))
        connection.send(head[:lead], more=done > 0)
        connection.send_body(body.cut(0, done), *sending)
        if action.end_at is not None:
            if self.end(action):
                return action.end, False
            connection.send(head[lead:])
            connection.send_body(body.cut(done), *sending)
        if chunked and request.method != "HEAD":
            connection.send(b"0\r\n\r\n")
        return "complete", not response.close

    # The honest registry.

    def honest(self, request, action, nth):
        if request.kind == "token":
            return self.server.scenario.auth.issue(request)
        if request.kind == "tunnel":
            return Response(200)
        if request.method not in ("GET", "HEAD"):
            return Response.error(405, headers=[("Allow", "GET, HEAD")])
        if request.kind == "ping":
            return Response.json(200, {})
        if request.kind == "tags":
            return self.tags(request)
        resource = self.store.find(request)
        if resource is None and action.body is None:
            known = request.kind == "other" or request.name in self.store.repositories
            return Response.error(404, request.kind, None if known else "NAME_UNKNOWN")
        if resource is None:  # a body from the scenario under a name of its own
            resource = Resource(Body(), "application/octet-stream", request.reference)
        resource = action.alter_resource(request, resource, self.store, nth)
        headers = [("Content-Type", resource.media_type), ("Docker-Content-Digest", resource.digest),
                   ("ETag", etag(resource))]
        if request.headers.get("if-none-match") in (etag(resource), resource.digest):
            return Response(304, headers)
        if request.kind == "blob":
            headers.append(("Accept-Ranges", "bytes"))
            if not action.get("ignore_range") and (wanted := request.byte_range(resource)) is not None:
                return self.partial(request, resource, wanted, headers, action)
        return Response(200, headers, resource.body)

    @staticmethod
    def partial(request, resource, wanted, headers, action):
        total = resource.body.size
        if not wanted:
            return Response.error(416, headers=[("Content-Range", f"bytes */{total}")])
        shift = action.get("range", {})
        first = max(0, wanted[0] + shift.get("start", 0))
        last = min(total - 1, wanted[1] + shift.get("end", 0))
        body = resource.body.cut(first, last + 1)
        told = shift.get("total", 0)
        values = {"start": first, "end": last, "total": told if told == "*" else total + told}
        lines = [request.expand(line, values)
                 for line in action.get("content_range", ["bytes {start}-{end}/{total}"])]
        if action.get("multipart"):
            part = "".join(f"Content-Range: {line}\r\n" for line in lines)
            body = (Body.of_bytes(f"--PART\r\n{part}\r\n".encode()) + body
                    + Body.of_bytes(b"\r\n--PART--\r\n"))
            headers = [h for h in headers if h[0] != "Content-Type"]
            return Response(206, [*headers, ("Content-Type", "multipart/byteranges; boundary=PART")],
                            body)
        return Response(206, [*headers, *(("Content-Range", line) for line in lines)], body)

    def tags(self, request):
        repository = self.store.repositories.get(request.name)
        if repository is None:
            return Response.error(404, code="NAME_UNKNOWN")
        query = request.parameters()
        last, limit = query.get("last", [""])[0], query.get("n", ["0"])[0]
        rest = [tag for tag in sorted(repository.tags) if tag > last]
        shown = rest[:int(limit)] if limit.isdigit() and int(limit) else rest
        headers = []
        if len(shown) < len(rest):
            more = urllib.parse.urlencode({"last": shown[-1], "n": limit})
            headers.append(("Link", f'<{request.path}?{more}>; rel="next"'))
        return Response.json(200, {"name": request.name, "tags": shown}, headers)

    def admin(self, request):
        server, journal, what = self.server, self.server.journal, request.path[10:]
        peer = ipaddress.ip_address(self.connection.sock.getpeername()[0])
        peer = getattr(peer, "ipv4_mapped", None) or peer
        try:
            if not peer.is_loopback:
                response = Response.error(403)
            elif (request.method, what) == ("GET", "stats"):
                journal.settle(STOP_SECONDS)
                scenario = server.scenario
                response = Response.json(200, {
                    **journal.stats(), "tokens_issued": scenario.auth.issued,
                    "tokens_refused": scenario.auth.refused, "title": scenario.title,
                    "unheard": {name: l.unheard() for name, l in server.listeners.items()},
                    "rules": [{"id": rule.id, "matched": sum(rule.matched.values()),
                               "applied": rule.applied} for rule in scenario.rules]})
            elif (request.method, what) == ("POST", "scenario"):
                server.scenario = Scenario(json.loads(request.body), ".", server.auth_options)
                response = Response.json(200, {"rules": len(server.scenario.rules)})
            elif (request.method, what) == ("POST", "reset"):
                journal.settle(STOP_SECONDS)
                journal.reset()
                server.scenario.reset()
                response = Response.json(200, {})
            else:
                response = Response.error(404)
        except (ConfigError, ValueError) as error:
            response = Response.error(400, message=str(error))
        self.connection.send(response.head() + response.body.read())


class Http2Handler(Handler):
    """Serves one stream: `connection` is the Stream."""

    def transmit(self, request, response, action):
        return self.connection.connection.transmit(self.connection, request, response, action)


class Listener:
    """One origin: a bound address, with or without TLS."""

    def __init__(self, name, url, tls, peers, send_buffer):
        parts = urllib.parse.urlsplit(url if "://" in url else f"{'https' if tls else 'http'}://{url}")
        try:
            host, port = parts.hostname, parts.port
            if parts.scheme not in ("http", "https", "hole") or not host or port is None:
                raise ValueError("not [http://|https://|hole://]HOST:PORT")
            if parts.scheme == "https" and not tls:
                raise ValueError("https needs --tls-cert and --tls-key")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.sock = socket.socket(family, socket.SOCK_STREAM)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.setblocking(False)  # a client may be gone between poll and accept
            if send_buffer:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            self.sock.bind((host, port))
            self.sock.listen(1024)
        except (OSError, ValueError) as error:
            raise ConfigError(f"--listen {name}={url}: {error}") from error
        self.name, self.scheme, self.peers = name, parts.scheme, peers
        self.tls = tls if parts.scheme == "https" else None
        self.host, self.port = host, self.sock.getsockname()[1]
        self.authority = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.gone, self.plugs, self.drops_before = False, [], 0
        if self.scheme == "hole":
            self.become_hole()

    def become_hole(self):
        """Whoever connects from now on hears nothing: the queue of connections is full."""
        self.gone = True
        self.sock.listen(0)
        plugged = True
        while plugged:
            plug = socket.socket(self.sock.family, socket.SOCK_STREAM)
            plug.setblocking(False)
            plug.connect_ex((self.host, self.port))
            try:
                plug.getpeername()  # loopback: it is connected at once, or never
                self.plugs.append(plug)
            except OSError:
                plug.close()
                plugged = False
        self.drops_before = self.drops()

    def drops(self):
        """How many SYNs the kernel has dropped here because the queue was full."""
        return struct.unpack_from("9I", self.sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[8]

    def unheard(self):
        """The same since it is a hole."""
        return self.drops() - self.drops_before

    def refuse(self):
        self.gone = True
        self.sock.shutdown(socket.SHUT_RDWR)


class Server:
    """All listeners and the threads of their connections."""

    def __init__(self, urls, tls, store, scenario, auth_options, log, send_buffer=None):
        self.store, self.scenario, self.auth_options = store, scenario, auth_options
        self.journal = Journal(log)
        self.listeners = {}
        for name, url in urls.items():
            self.listeners[name] = Listener(name, url, tls, self.listeners, send_buffer)
        self.stop_pipe, self.stop_writer = os.pipe()
        self.lock = threading.Lock()  # guards connections
        self.connections = {}  # Connection -> its thread

    def serve(self):
        """Accept until stop() closes the writing end of the pipe, then end every connection."""
        poller = select.poll()
        by_fd = {listener.sock.fileno(): listener for listener in self.listeners.values()}
        for fd in (*by_fd, self.stop_pipe):
            poller.register(fd, select.POLLIN)
        for number in itertools.count(1):
            fd, _ = poller.poll()[0]
            if fd == self.stop_pipe:
                break
            if by_fd[fd].gone:
                poller.unregister(fd)
                continue
            try:
                sock, _ = by_fd[fd].sock.accept()
            except OSError:
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, by_fd[fd], self, number)
            thread = threading.Thread(target=self.handle, args=(connection,), daemon=True)
            with self.lock:
                self.connections[connection] = thread
            self.journal.connection(connection.listener, +1)
            thread.start()
        self.close()

    def forsake(self, listener, how):
        """Accept nothing there any more, and end what is open there."""
        if how == "hole":
            listener.become_hole()
        else:
            listener.refuse()
        with self.lock:
            left = [connection for connection in self.connections if connection.listener is listener]
        for connection in left:
            connection.shutdown()

    def handle(self, connection):
        try:
            Handler(self, connection).run()
        finally:
            with self.lock:
                del self.connections[connection]
            self.journal.connection(connection.listener, -1)

    def stop(self):
        if self.stop_writer is not None:
            os.close(self.stop_writer)
            self.stop_writer = None

    def close(self):
        for listener in self.listeners.values():
            listener.sock.close()
        with self.lock:
            left = list(self.connections.items())
        for connection, _ in left:
            connection.shutdown()
        deadline = time.monotonic() + STOP_SECONDS
        for _, thread in left:
            thread.join(max(0, deadline - time.monotonic()))
