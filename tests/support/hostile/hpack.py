"""Header blocks of HTTP/2 (RFC 7541): reading all of it, writing the plainest form."""

import itertools

# RFC 7541 appendix A, from number 1.
STATIC = [(name, value) for name, _, value in (line.partition(" ") for line in """\
:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate""".split("\n"))]

# Bits in the code of each byte and of the end mark, RFC 7541 appendix B. The code is canonical:
# the lengths are all there is to know.
CODE_BITS = [int(bits) for bits in """
13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28
6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10
13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6
15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28
20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24
22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23
26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26
30""".split()]


def canonical_codes():
    """(bits, code) -> symbol"""
    codes, code, before = {}, 0, 0
    for bits, symbol in sorted(zip(CODE_BITS, itertools.count())):
        code <<= bits - before
        codes[bits, code] = symbol
        code, before = code + 1, bits
    return codes


CODES = canonical_codes()


def huffman_decoded(data):
    out, code, bits = bytearray(), 0, 0
    for at in range(len(data) * 8):
        code = code << 1 | data[at >> 3] >> (7 - at % 8) & 1
        bits += 1
        if (symbol := CODES.get((bits, code))) is not None:
            out.append(symbol)
            code = bits = 0
    return bytes(out)  # what is left over is padding


class Decoder:
    """The receiving end of one connection, with its dynamic table."""

    def __init__(self):
        self.table, self.limit = [], 4096

    def decode(self, block):
        """The (name, value) pairs of one block. ValueError or IndexError if it is broken."""
        self.block, self.at, headers = block, 0, []
        while self.at < len(block):
            first = block[self.at]
            if first & 0x80:
                headers.append(self.entry(self.number(7)))
            elif first & 0xE0 == 0x20:
                self.limit = self.number(5)
                self.shrink()
            else:
                index = self.number(6 if first & 0x40 else 4)
                name = self.entry(index)[0] if index else self.text()
                headers.append((name, self.text()))
                if first & 0x40:
                    self.table.insert(0, headers[-1])
                    self.shrink()
        return headers

    def entry(self, index):
        if index < 1:
            raise ValueError("header number 0")
        return (STATIC + self.table)[index - 1]

    def shrink(self):
        while sum(len(name) + len(value) + 32 for name, value in self.table) > self.limit:
            self.table.pop()

    def number(self, prefix_bits):
        value = self.block[self.at] & (1 << prefix_bits) - 1
        self.at += 1
        if value == (1 << prefix_bits) - 1:
            for shift in range(0, 35, 7):
                byte = self.block[self.at]
                self.at += 1
                value += (byte & 0x7F) << shift
                if byte < 0x80:
                    break
        return value

    def text(self):
        huffman = self.block[self.at] & 0x80
        length = self.number(7)
        data = self.block[self.at:self.at + length]
        self.at += length
        return (huffman_decoded(data) if huffman else data).decode("latin-1")


def encode(headers):
    """Literals that enter no table, RFC 7541 section 6.2.2."""
    out = bytearray()
    for pair in headers:
        out.append(0)
        for text in pair:
            data, length = text.encode("latin-1", "replace"), len(text)
            if length < 127:
                out.append(length)
            else:
                out.append(127)
                length -= 127
                while length >= 128:
                    out.append(length & 0x7F | 0x80)
                    length >>= 7
                out.append(length)
            out += data
    return bytes(out)
