"""TIFF's LZW, decoded and encoded two to three times as fast as libraries do.

Codes of 9 to 12 bits, highest bit first, widened one code early: TIFF 6.0, section 13; Welch, "A technique for
high-performance data compression", 1984. Noise of film hardly compresses: 12 bits stand for 11, and codes are all
that costs time.

numba checks no bounds: buffers have room for a whole word behind their end. Indices are unsigned, since signed ones
would be looked at for being negative.
"""

from __future__ import annotations

from typing import TypeAlias

import imagecodecs
import numpy as np
import numpy.typing as npt

from .kernel import kernel

Bytes: TypeAlias = npt.NDArray[np.uint8]

_Index = np.uint64

_CLEAR, _EOI, _FIRST = 256, 257, 258
"""The codes that stand for no string, and the first that stands for one of several bytes."""

_CODES = 4096

_WORD = 8
"""Bytes that are written at once."""

_CLEARED = 4095 - _FIRST
"""Codes after which encoders clear: entry 4094 is the last one made."""

_ONE = 1 << 56
"""A string of up to 7 bytes in one number: its bytes, the first one lowest, and above them its length."""

_SEVEN, _LONG = 7 * _ONE, 8 * _ONE
"""What strings of 7 bytes begin at; and longer ones, of which only the first byte is in the number, or none."""

_PAIRS = 1 << 16

_SLOTS = 1 << 13
"""Of the hash table of strings of three and more bytes: twice as many as there are codes."""


class DamagedCodes(ValueError):  # noqa: N818 - says what the data are
    """Data that no LZW encoder writes."""


def decode(data: bytes, room: int) -> bytes | memoryview:
    """Decode up to `room` bytes; fewer where the data end before or say so.

    Also those of before TIFF 5.0, with the lowest bit first. Raises DamagedCodes.
    """
    if data[:1] == b"\0" and data[1:2] and data[1] & 1:
        try:
            return bytes(imagecodecs.lzw_decode(data, out=room))
        except imagecodecs.LzwError as error:
            raise DamagedCodes(str(error)) from error
    if data and (data[0] != 1 << 7 or data[1:2] >= b"\x80" or len(data) == 1):
        raise DamagedCodes("it does not begin with a clear code")
    out = np.empty(room + _WORD, np.uint8)
    size = _decode(np.frombuffer(data.ljust(4, b"\0"), np.uint8), 8 * len(data), out)
    if size < 0:
        raise DamagedCodes("a code comes before its string")
    return out[:size].data


def encode(data: bytes | memoryview) -> memoryview:
    """Encode bytes, as libtiff does."""
    plain = np.frombuffer(data, np.uint8)
    plain.flags.writeable = False  # one type for all, compiled once
    # No code stands for less than a byte, and none takes more than 12 bits.
    out = np.empty(len(plain) * 3 // 2 + len(plain) // 2000 + 4 * _WORD, np.uint8)
    return out[: _encode(plain, out)].data


@kernel
def _put(out: Bytes, at: int, word: int) -> None:
    """Write 8 bytes, the lowest first; machine code does so at once."""
    for i in range(8):
        out[_Index(at) + _Index(i)] = np.uint8((word >> 8 * i) & 255)


@kernel
def _longer(string: int, byte: int) -> int:
    """A string of up to 6 bytes and a byte after it; a long one stays long."""
    return string + _ONE + (byte << ((string >> 53) & 63))


@kernel
def _decode(data: Bytes, bits: int, out: Bytes) -> int:
    """Decode the first `bits` of at least 4 bytes; how many bytes of `out`, without its last 8, or -1.

    Strings of up to 7 bytes are held in `strings`, and one number is all that is read and written for them. Of longer
    ones `places` says where in `out` they are, times 2**16, and their length.
    """
    room, last_word = len(out) - _WORD, len(data) - 4
    strings, places = np.full(_CODES + 1, _LONG), np.empty(_CODES + 2, np.int64)
    for value in range(256):
        strings[value] = _ONE | value
    bit, at, width, widen, following, before = 0, 0, 9, 511, _EOI, _LONG
    while bit + width <= bits and at < room:
        byte = min(bit >> 3, last_word)
        i = _Index(byte)
        word = (
            np.int64(data[i]) << 24
            | np.int64(data[i + _Index(1)]) << 16
            | np.int64(data[i + _Index(2)]) << 8
            | np.int64(data[i + _Index(3)])
        )
        bit += width
        code = (word >> (8 * byte + 32 - bit)) & ((1 << width) - 1)
        string = strings[_Index(code)]
        if string < _SEVEN:
            length = string >> 56
            _put(out, at, string)
        else:
            if code == _CLEAR:
                # The first code after it adds an entry to nothing; it comes to lie where no string is looked for.
                strings[_FIRST:following] = _LONG
                width, widen, following, before = 9, 511, _EOI, _LONG
                continue
            if code == _EOI:
                break
            if code > following:
                return -1
            if code == following:
                string = _longer(before, before & 255)
            length = string >> 56
            if length <= 7:
                _put(out, at, string)
            else:
                place = places[_Index(code)]
                source, length = place >> 16, place & 0xFFFF
                string = np.int64(out[_Index(source)])
                out[_Index(at)] = string  # of the entry that is just being made this is the last byte as well
                for offset in range(0, min(length, room - at), 8):
                    i, word = _Index(source + offset), np.int64(0)
                    for k in range(8):
                        word |= np.int64(out[i + _Index(k)]) << 8 * k
                    _put(out, at + offset, int(word))
            if length >= 7:
                string = _LONG | (string & 255)
                places[_Index(following + 1)] = at << 16 | (length + 1)
        strings[_Index(following)] = _longer(before, string & 255)
        following += 1
        if following == widen:
            if width < 12:
                width += 1
                widen = (1 << width) - 1 if width < 12 else _CODES + 1
            else:
                following = _CODES  # what is made now has no code
        before = string
        at += length
    return min(at, room)


@kernel
def _encode(data: Bytes, out: Bytes) -> int:
    """Encode into `out`, which is large enough; how many bytes.

    Strings of two bytes are looked up in `pairs`, longer ones in the hash table `slots`: their code, and above it that
    of the string they lengthen and the byte.
    """
    pairs, slots = np.zeros(_PAIRS, np.uint16), np.zeros(_SLOTS, np.uint32)
    codes = np.empty(_CLEARED + 1, np.uint16)
    out[0], out[1], bit = 1 << 7, 0, 9  # a clear code
    i, size = 0, len(data)
    while True:
        count = 0
        while i < size and count < _CLEARED:
            code = np.int64(data[_Index(i)])
            i += 1
            if i < size:
                pair = _Index(code << 8 | np.int64(data[_Index(i)]))
                known = np.int64(pairs[pair])
                if known == 0:
                    pairs[pair] = _FIRST + count
                else:
                    code = known
                    i += 1
                    while i < size:
                        key = code << 8 | np.int64(data[_Index(i)])
                        slot = (key * 40503 >> 6) & (_SLOTS - 1)
                        known = np.int64(slots[_Index(slot)])
                        while known != 0 and known >> 12 != key:
                            slot = (slot + 1) & (_SLOTS - 1)
                            known = np.int64(slots[_Index(slot)])
                        if known == 0:
                            slots[_Index(slot)] = key << 12 | (_FIRST + count)
                            break
                        code = known & (_CODES - 1)
                        i += 1
            codes[_Index(count)] = code
            count += 1
        codes[_Index(count)] = _CLEAR if i < size else _EOI
        bit = _pack(codes, count + 1, out, bit)
        if i == size:
            return (bit + 7) >> 3
        pairs[:] = 0
        slots[:] = 0


@kernel
def _pack(codes: npt.NDArray[np.uint16], count: int, out: Bytes, bit: int) -> int:
    """Write codes that follow a clear code from a bit on; the bit behind them."""
    at, bits, width, start, stop = bit >> 3, bit & 7, 9, 0, 512 - _FIRST
    word = np.int64(out[at]) >> (8 - bits)
    while start < count:
        for i in range(start, min(stop, count)):
            word = word << width | np.int64(codes[_Index(i)])
            bits += width
            shifted = word << (64 - bits)
            for k in range(8):
                out[_Index(at) + _Index(k)] = np.uint8((shifted >> (56 - 8 * k)) & 255)
            at += bits >> 3
            bits &= 7
        width += 1
        start, stop = stop, (1 << width) - _FIRST if width < 12 else count
    return 8 * at + bits
