"""HTTP/2 over TLS (RFC 9113): the same registry and the same rules, in frames."""

import select
import socket
import ssl
import struct
import threading
import time

from hostile import hpack
from hostile.body import Body, position
from hostile.connection import ClientGone
from hostile.message import Request

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK = END_STREAM = 1
END_HEADERS, PADDED, PRIORITY = 4, 8, 32
SETTINGS_INITIAL_WINDOW = 4
FRAME_BYTES = 16384  # of payload, at most; RFC 9113 section 4.2
PING_SECONDS = 0.2


class Stream:
    """One exchange: what a handler takes for its connection."""

    def __init__(self, connection, number, window):
        self.connection, self.number, self.stream = connection, connection.number, number
        self.listener, self.server = connection.listener, connection.server
        self.window, self.gone = window, False  # guarded by connection.changed
        self.sent = 0
        self.headers, self.body = [], b""

    def client_name(self):
        return self.connection.client_name

    def send(self, data):
        self.connection.write(data)

    def wait(self, seconds=None):
        """Let time pass (None: for ever) unless the client resets the stream or leaves."""
        self.server.journal.add_busy(-1)
        try:
            with self.connection.changed:
                if self.connection.changed.wait_for(lambda: self.gone, seconds):
                    raise ClientGone
        finally:
            self.server.journal.add_busy(1)

    def stall(self, seconds):
        """Say no more of this, while the connection lives on and is heard."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while deadline is None or time.monotonic() < deadline:
            self.wait(PING_SECONDS)
            self.connection.frame(PING, 0, 0, b"dripdrip")

    def send_data(self, data):
        """DATA frames, as the windows allow."""
        while data:
            with self.connection.changed:
                if self.gone:
                    raise ClientGone
                room = min(self.window, self.connection.window, FRAME_BYTES, len(data))
                if room > 0:
                    self.window -= room
                    self.connection.window -= room
            if room <= 0:
                self.connection.wait_window(self)
                continue
            self.connection.frame(DATA, 0, self.stream, data[:room])
            self.server.journal.add_bytes(room)
            self.sent += room
            data = data[room:]

    def send_body(self, body, rate, piece):
        piece = piece or (max(1, int(rate / 20)) if rate else FRAME_BYTES)
        begin, done = time.monotonic(), 0
        for data in body.pieces(piece):
            if rate and done:
                self.wait(begin + done / rate - time.monotonic())
            self.send_data(data)
            done += len(data)


class Http2:
    """A connection after its TLS handshake. One thread reads it; each stream has a thread."""

    def __init__(self, connection, make_handler):
        self.sock, self.number = connection.sock, connection.number
        self.listener, self.server = connection.listener, connection.server
        self.client_name = connection.client_name()
        self.make_handler = make_handler
        self.buffer = b""
        self.decoder = hpack.Decoder()
        self.io = threading.Lock()  # an SSL object serves one thread at a time
        self.writing = threading.Lock()  # held for a whole frame
        self.changed = threading.Condition()  # guards what follows
        self.window = self.first_window = 65535
        self.streams = {}
        self.last = 0
        self.how = "client-gone"  # how the connection ends
        self.sock.setblocking(False)

    # Bytes.

    def poll(self, event):
        poller = select.poll()
        poller.register(self.sock, event)
        poller.poll()

    def read(self, length):
        while len(self.buffer) < length:
            try:
                with self.io:
                    data = self.sock.recv(65536)
                if not data:
                    raise ClientGone
                self.buffer += data
            except ssl.SSLWantReadError:
                self.poll(select.POLLIN)
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def write(self, data):
        with self.writing:
            while data:
                try:
                    with self.io:
                        data = data[self.sock.send(data):]
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    self.poll(select.POLLOUT)

    def frame(self, kind, flags, stream, payload=b""):
        self.write(struct.pack(">IBBI", len(payload), kind, flags, stream)[1:] + payload)

    # Frames.

    def run(self):
        """Serve until the client leaves or a stream's action ends the connection; how it ended."""
        try:
            self.frame(SETTINGS, 0, 0)
            if self.read(len(PREFACE)) != PREFACE:
                raise ClientGone
            while True:
                head = self.read(9)
                length = int.from_bytes(head[:3], "big")
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                self.take(kind, flags, stream & 0x7FFFFFFF, self.read(length))
        except (ClientGone, OSError, ValueError, LookupError, struct.error):
            pass
        with self.changed:
            threads = [stream.thread for stream in self.streams.values() if stream.thread]
            for stream in self.streams.values():
                stream.gone = True
            self.changed.notify_all()
        for thread in threads:
            thread.join()
        return self.how

    def take(self, kind, flags, number, payload):
        stream = self.streams.get(number)
        if kind in (HEADERS, DATA) and flags & PADDED:
            payload = payload[1:len(payload) - payload[0]]
        if kind == HEADERS:
            if flags & PRIORITY:
                payload = payload[5:]
            while not flags & END_HEADERS:
                head = self.read(9)
                flags |= head[4] & END_HEADERS
                payload += self.read(int.from_bytes(head[:3], "big"))
            stream = Stream(self, number, self.first_window)
            stream.thread = None
            stream.headers = self.decoder.decode(payload)
            with self.changed:
                self.streams[number], self.last = stream, number
        elif kind == DATA and stream:
            stream.body += payload
        elif kind == SETTINGS and not flags & ACK:
            self.settle(payload)
        elif kind == PING and not flags & ACK:
            self.frame(PING, ACK, 0, payload)
        elif kind in (WINDOW_UPDATE, RST_STREAM):
            with self.changed:
                if kind == RST_STREAM and stream:
                    stream.gone = True
                elif kind == WINDOW_UPDATE and number == 0:
                    self.window += int.from_bytes(payload, "big")
                elif kind == WINDOW_UPDATE and stream:
                    stream.window += int.from_bytes(payload, "big")
                self.changed.notify_all()
        if kind in (HEADERS, DATA) and stream and flags & END_STREAM:
            stream.thread = threading.Thread(target=self.serve, args=(stream,), daemon=True)
            stream.thread.start()

    def settle(self, payload):
        with self.changed:
            for at in range(0, len(payload), 6):
                key, value = struct.unpack_from(">HI", payload, at)
                if key == SETTINGS_INITIAL_WINDOW:
                    for stream in self.streams.values():
                        stream.window += value - self.first_window
                    self.first_window = value
            self.changed.notify_all()
        self.frame(SETTINGS, ACK, 0)

    def wait_window(self, stream):
        with self.changed:
            self.changed.wait_for(lambda: stream.gone or min(stream.window, self.window) > 0)

    # Exchanges.

    def serve(self, stream):
        pseudo = dict(pair for pair in stream.headers if pair[0].startswith(":"))
        headers = [pair for pair in stream.headers if not pair[0].startswith(":")]
        headers.append(("host", pseudo.get(":authority", "")))
        request = Request(self.listener, pseudo.get(":method", "GET"), pseudo.get(":path", "/"),
                          headers, stream.body)
        how = self.make_handler(stream).exchange(request)
        with self.changed:
            del self.streams[stream.stream]
            if how in (None, "rst_stream", "client-gone"):
                return
            self.how = how
        try:
            # Under TLS's feet: this wakes the reader, which ends the connection.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:
            pass

    def transmit(self, stream, request, response, action):
        """As Handler.transmit: (end, whether the connection goes on)."""
        body = response.body
        if request.method == "HEAD" or response.status in (204, 304):
            body = Body()
        headers = [(":status", str(response.status))]
        headers += [(name.lower(), value) for name, value in response.headers if name]
        if response.framing == "length" and response.status not in (204, 304):
            lengths = [response.body.size] if response.lengths is None else response.lengths
            headers += [("content-length", str(length)) for length in lengths]
        block, sending = hpack.encode(headers), (action.get("rate"), action.get("piece"))
        done = body.size
        if action.end_at == "mid-headers":
            self.frame(HEADERS, 0, stream.stream, block[:len(block) // 2])
        elif action.end_at != "start":
            done = position(action.end_at, body.size) if action.end_at is not None else body.size
            self.frame(HEADERS, END_HEADERS, stream.stream, block)
            stream.send_body(body.cut(0, done), *sending)
        if action.end_at is not None and not self.end(stream, action):
            return action.end, False
        stream.send_body(body.cut(done), *sending)
        self.frame(DATA, END_STREAM, stream.stream)
        return "complete", action.end != "goaway"

    def end(self, stream, action):
        """Do what the action says here; true if the body goes on after it."""
        if action.end == "stall":
            stream.stall(action.get("stall_seconds"))
            return True
        if action.end == "rst_stream":
            self.frame(RST_STREAM, 0, stream.stream, struct.pack(">I", action.get("h2_error", 2)))
        if action.end == "goaway":
            last = action.get("last_stream", self.last)
            self.frame(GOAWAY, 0, 0, struct.pack(">II", last, action.get("h2_error", 0)))
            return last >= stream.stream
        return False
