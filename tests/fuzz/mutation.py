"""Damage to bytes: what a broken cable, an old program and a hostile one do to a good message. Pure; the caller's
`random.Random` decides, so a printed seed gives the same damage again."""

from __future__ import annotations

from random import Random

MAX_LENGTH = 256 * 1024
#: What parsers stumble over: borders of integers, of lines, of text, of paths.
AWKWARD = (
    b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\r\n", b"\r\n\r\n", b"\n", b"\"", b"\\",
    b"../", b"..\\", b"%00", b"%2e%2e%2f", b"\xe2\x80\xae", b"\xed\xa0\x80", b"\xc0\xaf", b"{", b"[" * 64, b"1e999", b"-1",
    b"18446744073709551616", b"A" * 300, b"; boundary=", b"--", b"Content-Length: 0\r\n", b"null", b"NaN", b"utf-8''%ff",
)  # fmt: skip


def mutated(random: Random, data: bytes, other: bytes = b"") -> bytes:
    """Give `data` with one to four kinds of damage; `other` is a second example to splice from."""
    damaged = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(damaged))
        match random.randrange(8):
            case 0 if damaged:
                damaged[at % len(damaged)] ^= 1 << random.randrange(8)
            case 1 if damaged:
                damaged[at % len(damaged)] = random.randrange(256)
            case 2:
                damaged[at:at] = random.choice(AWKWARD)
            case 3:
                del damaged[at : at + random.choice((1, 2, 4, 16, 4096))]
            case 4:
                damaged[at:at] = damaged[at : at + random.choice((1, 8, 64, 1024))] * random.randint(1, 4)
            case 5:
                del damaged[at:]
            case 6 if other:
                start = random.randrange(len(other))
                damaged[at:at] = other[start : start + random.choice((1, 8, 64, 1024))]
            case _:
                damaged[at:at] = random.randbytes(random.choice((1, 2, 8, 64)))
    return bytes(damaged[:MAX_LENGTH])
