"""Bytes on their way to a client."""

import collections
import os

IO_BYTES = 1 << 20  # per read and sendfile

Segment = collections.namedtuple("Segment", "source offset length")  # source: bytes, or a path


def position(spec, size):
    """Where a scenario's position lies in a body of `size` bytes."""
    if isinstance(spec, float):
        spec = int(size * spec)
    return max(0, min(size, size + spec if spec < 0 else spec))


class Body:
    """Bytes to be sent, as pieces of files and of memory; cut and joined without copying them."""

    def __init__(self, segments=()):
        self.segments = [s for s in segments if s.length > 0]
        self.size = sum(s.length for s in self.segments)

    @classmethod
    def of_bytes(cls, data):
        return cls([Segment(data, 0, len(data))])

    @classmethod
    def of_file(cls, path):
        return cls([Segment(path, 0, os.stat(path).st_size)])

    def __add__(self, other):
        return Body(self.segments + other.segments)

    def cut(self, start, end=None):
        end = self.size if end is None else min(end, self.size)
        kept, at = [], 0
        for source, offset, length in self.segments:
            first, last = max(start - at, 0), min(end - at, length)
            if first < last:
                kept.append(Segment(source, offset + first, last - first))
            at += length
        return Body(kept)

    def pieces(self, piece_bytes):
        for source, offset, length in self.segments:
            if isinstance(source, bytes):
                for at in range(offset, offset + length, piece_bytes):
                    yield source[at:min(at + piece_bytes, offset + length)]
                continue
            with open(source, "rb", buffering=0) as file:
                file.seek(offset)
                while length > 0 and (data := file.read(min(piece_bytes, length))):
                    length -= len(data)
                    yield data

    def read(self):
        return b"".join(self.pieces(IO_BYTES))

    def flipped(self, spec):
        at = min(position(spec, self.size), self.size - 1)
        byte = self.cut(at, at + 1).read()[0] ^ 1
        return self.cut(0, at) + Body.of_bytes(bytes([byte])) + self.cut(at + 1)
