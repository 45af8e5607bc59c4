"""What a proxy does with CONNECT: bytes of others, carried both ways."""

import select
import socket

from hostile.body import position

BUFFER_BYTES = 1 << 16
TUNNEL_BYTES = 1 << 20  # what fractions in a position are taken of


class Tunnel:
    """A client's way to the listener of ours that has the port it names, whatever the host."""

    def __init__(self, connection, server):
        self.connection, self.server = connection, server

    def carry(self, request, action):
        """Until one side ends it, or the action's position in what comes back is reached."""
        connection, port = self.connection, int(request.target.rpartition(":")[2])
        listener = next((l for l in self.server.listeners.values() if l.port == port), None)
        if listener is None:
            connection.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return "complete", True
        limit = None if action.end_at is None else position(action.end_at, TUNNEL_BYTES)
        with socket.create_connection((listener.host, port)) as far:
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            if connection.buffer:
                far.sendall(connection.buffer)
                connection.buffer = b""
            while limit is None or connection.sent < limit:
                if not self.pump(connection, far):
                    return "close", False
            if action.end == "stall":
                connection.wait(action.get("stall_seconds"))
            return action.end, False

    @staticmethod
    def pump(near, far):
        """Carry what has come; False when a side has ended."""
        near.server.journal.add_busy(-1)
        try:
            ready, _, _ = select.select([near.sock, far], [], [])
        finally:
            near.server.journal.add_busy(1)
        for sock in ready:
            data = sock.recv(BUFFER_BYTES)
            if not data:
                return False
            if sock is far:
                near.send(data)
                near.count(len(data))
            else:
                far.sendall(data)
        return True
