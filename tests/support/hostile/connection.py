"""One client's connection."""

import os
import select
import socket
import ssl
import struct
import time

from hostile.body import IO_BYTES
from hostile.message import Request

HEAD_BYTES_MAX = 1 << 20
REQUEST_BODY_BYTES_MAX = 64 << 20


class ClientGone(Exception):
    """The peer closed or reset the connection, or speaks no HTTP."""


class Stopping(Exception):
    """The server is being stopped."""


class Connection:
    """A client's socket: requests in, bytes out, and the ways to end it."""

    def __init__(self, sock, listener, server, number):
        self.sock, self.listener, self.server, self.number = sock, listener, server, number
        self.buffer = b""
        self.sent = 0  # body bytes of the current exchange

    def handshake(self):
        if self.listener.tls:
            self.sock = self.listener.tls.wrap_socket(self.sock, server_side=True,
                                                      do_handshake_on_connect=False)
            self.sock.do_handshake()

    def speaks_http2(self):
        return bool(self.listener.tls) and self.sock.selected_alpn_protocol() == "h2"

    def shutdown(self):
        """End it from another thread."""
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # under TLS's feet
        except OSError:
            pass

    def client_name(self):
        """The common name in the client's certificate, or None."""
        certificate = self.listener.tls and self.sock.getpeercert()
        names = [pair for part in (certificate or {}).get("subject", ()) for pair in part]
        return dict(names).get("commonName")

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise ClientGone
        self.buffer += data

    def read_request(self):
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
            # A client that tries TLS here is told at once, as by real servers, not left waiting.
            if len(self.buffer) > HEAD_BYTES_MAX or not self.buffer[:1].isalpha():
                raise ClientGone
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        headers = [(name.strip(), value.strip())
                   for name, _, value in (line.partition(":") for line in lines)]
        length = next((value for name, value in headers if name.lower() == "content-length"), "0")
        if len(words) != 3 or not length.isdigit() or int(length) > REQUEST_BODY_BYTES_MAX:
            raise ClientGone
        while len(self.buffer) < int(length):
            self.fill()
        body, self.buffer = self.buffer[:int(length)], self.buffer[int(length):]
        return Request(self.listener, words[0], words[1], headers, body)

    def wait(self, seconds=None):
        """Let time pass (None: for ever) while watching for the client's leave and the stop."""
        self.server.journal.add_busy(-1)
        try:
            poller = select.poll()
            poller.register(self.sock, select.POLLRDHUP)
            poller.register(self.server.stop_pipe, select.POLLIN)
            ready = dict(poller.poll(None if seconds is None else max(0, seconds * 1000)))
            if self.server.stop_pipe in ready:
                raise Stopping
            if ready:
                raise ClientGone
        finally:
            self.server.journal.add_busy(1)

    def send(self, data, more=False):
        if more and not self.listener.tls:
            while data:
                data = data[self.sock.send(data, socket.MSG_MORE):]
        else:
            self.sock.sendall(data)

    def send_file(self, path, offset, length):
        with open(path, "rb", buffering=0) as file:
            while length > 0:
                done = os.sendfile(self.sock.fileno(), file.fileno(), offset, min(length, IO_BYTES))
                if done == 0:
                    raise OSError(f"{path} shrank")
                offset, length = offset + done, length - done
                self.count(done)

    def count(self, sent):
        self.sent += sent
        self.server.journal.add_bytes(sent)

    def send_body(self, body, chunked, rate, piece):
        if not (chunked or rate or piece or self.listener.tls):
            for source, offset, length in body.segments:
                if isinstance(source, bytes):
                    self.send(source[offset:offset + length])
                    self.count(length)
                else:
                    self.send_file(source, offset, length)
            return
        piece = piece or (max(1, int(rate / 20)) if rate else 1 << 18)
        begin, done = time.monotonic(), 0
        for data in body.pieces(piece):
            if rate and done:  # not after the last: the client has the whole then
                self.wait(begin + done / rate - time.monotonic())
            self.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            self.count(len(data))
            done += len(data)

    def finish(self, how):
        """Close; for "rst" by reset, for "complete" with TLS's own goodbye."""
        try:
            if how == "rst":
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == "complete" and isinstance(self.sock, ssl.SSLSocket):
                self.sock.settimeout(0.5)
                self.sock.unwrap()
        except (OSError, ValueError):
            pass
        self.sock.close()
