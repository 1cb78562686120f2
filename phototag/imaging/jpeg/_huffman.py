"""Decode one or four samples of each block from entropy-coded data, in machine code that numba compiles.

Of a block of 8 x 8 pixels only the DC and at most three AC coefficients are wanted. Of everything after them only the
number of bits matters, so one look into a table passes over as many whole symbols as fit its window. The names are
those of ITU-T T.81: annex F for the decoding, annex C for the codes.

Importing this module compiles it, which takes seconds the first time. Whatever the bytes are, reads and writes stay
inside the arrays: an index into a table is as wide as the table, and data is read no further than its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numba import boolean, int64, types, uint8, uint16, uint32, uint64, void

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Bits of one look-up; its tables stay in the processor's cache: docs/experiments.md#the-huffman-window
WINDOW = 13
# A block is at its end: either all 63 AC coefficients are passed, or from here on the end-of-block symbol was met.
_END_OF_BLOCK = 128
# `_Z` for zero, and so on: numba makes a float of a signed and an unsigned number, so every constant has its type.
_SHIFT, _SIZE = uint64(64 - WINDOW), 1 << WINDOW
_Z, _ONE, _TWO, _THREE, _FOUR = uint64(0), uint64(1), uint64(2), uint64(3), uint64(4)
_FIVE, _SEVEN, _EIGHT, _16, _48, _56 = uint64(5), uint64(7), uint64(8), uint64(16), uint64(48), uint64(56)
_63, _LENGTH, _BYTE, _END = uint64(63), uint64(31), uint64(255), uint64(_END_OF_BLOCK)
# Bits that a symbol takes at most, 16 and 10 extra ones, and three looks into a table.
_LONGEST, _THREE_WINDOWS = uint64(26), uint64(3 * WINDOW)
_EACH_LOWEST, _EACH_HIGHEST = uint64(0x0101010101010101), uint64(0x8080808080808080)
# 128, for the samples are stored around zero, and a half to round; in eighths, as the transform leaves them.
_LEVEL = 128 * 8 + 4

_DATA = types.Array(uint8, 1, "C", readonly=True)
_BYTES, _WORDS, _ENTRIES, _SIGNED = uint8[::1], uint16[::1], uint32[::1], int64[::1]


def _compiled(signature: Any) -> Callable[[_Function], _Function]:
    compiler: Callable[[_Function], _Function] = numba.njit(signature, nogil=True, cache=True)
    return compiler


@_compiled(boolean(_DATA, _DATA, _WORDS))
def fill_codes(counts: Any, symbols: Any, codes: Any) -> bool:
    """Fill `codes` [65536]: for the next 16 bits, the length of their code, and the symbol << 5; 0 is no code.

    `counts` [16] says how many codes have each length, `symbols` what they stand for. Returns whether that fits.
    """
    code = taken = 0
    codes[:] = 0
    for length in range(1, 17):
        for _ in range(counts[length - 1]):
            first, end = code << (16 - length), (code + 1) << (16 - length)
            if taken >= len(symbols) or end > 65536:
                return False
            codes[first:end] = length | (symbols[taken] << 5)
            taken += 1
            code += 1
        code <<= 1
    return taken == len(symbols)


@_compiled(int64(int64, int64))
def _extend(bits: Any, size: Any) -> Any:
    """Return the value that `size` extra bits stand for (T.81, F.2.2.1)."""
    if size > 0 and bits < (1 << (size - 1)):
        return bits - (1 << size) + 1
    return bits


@_compiled(void(_WORDS, _WORDS))
def fill_skip(ac_codes: Any, skip: Any) -> None:
    """Fill `skip` [2**WINDOW]: bits of all whole AC symbols in the window, and the coefficients they pass << 5.

    The end of the block counts 128 coefficients. If nothing whole fits, the entry is one that no block can take.
    """
    for window in range(_SIZE):
        bits = passed = 0
        while True:
            code = ac_codes[((window << bits) & (_SIZE - 1)) << (16 - WINDOW)]
            length, run, size = code & 31, code >> 9, (code >> 5) & 15
            step = run + 1 if size or run == 15 else 128
            # Up to 62, as no block has more after its first: that keeps them apart from the 128.
            known = length > 0 and size <= 10 and (size or run in (0, 15))
            if not known or bits + length + size > WINDOW or (step < 128 and passed + step > 62):
                break
            bits += length + size
            passed += step
            if step == 128:
                break
        skip[window] = bits | (passed << 5) if bits else 255 << 5


@_compiled(void(_WORDS, _ENTRIES))
def fill_steps(ac_codes: Any, steps: Any) -> None:
    """Fill `steps` [2**WINDOW]: bits of one AC symbol, coefficients it passes << 5, value + 32768 << 16; 0 is none."""
    for window in range(_SIZE):
        code = ac_codes[window << (16 - WINDOW)]
        length, run, size = code & 31, code >> 9, (code >> 5) & 15
        bits = length + size
        steps[window] = 0
        if length > 0 and size <= 10 and (size or run in (0, 15)) and bits <= WINDOW:
            passed = run + 1 if size or run == 15 else 128
            value = _extend((window >> (WINDOW - bits)) & ((1 << size) - 1), size)
            steps[window] = uint32(bits | (passed << 5) | ((value + 32768) << 16))


@_compiled(void(_WORDS, _WORDS, boolean, _ENTRIES))
def fill_start(dc_codes: Any, skip: Any, only_mean: Any, start: Any) -> None:
    """Fill `start` [2**WINDOW]: bits of the DC symbol, next coefficient << 5, difference + 32768 << 16; 0 is none.

    With `only_mean` the AC symbols in the rest of the window are passed over as well.
    """
    for window in range(_SIZE):
        code = dc_codes[window << (16 - WINDOW)]
        length, size = code & 31, code >> 5
        bits, following = length + size, 1
        start[window] = 0
        if length == 0 or size > 11 or bits > WINDOW:
            continue
        value = _extend((window >> (WINDOW - bits)) & ((1 << size) - 1), size)
        rest = skip[(window << bits) & (_SIZE - 1)]
        if only_mean and (rest >> 5) != 255 and bits + (rest & 31) <= WINDOW:
            bits, following = bits + (rest & 31), following + (rest >> 5)
        start[window] = uint32(bits | (following << 5) | ((value + 32768) << 16))


@_compiled(types.UniTuple(uint64, 4)(_DATA, uint64, uint64, uint64, uint64))
def _refill(data: Any, at: Any, buffer: Any, count: Any, borrowed: Any) -> Any:
    """Fill the bit buffer byte by byte: near the end of the data, and where bytes of 255 are about.

    At a marker or the end of the data zeros come instead; `borrowed` counts their bits.
    """
    end = uint64(len(data))
    while count < _56:
        byte = _Z
        if at + _ONE >= end or (data[at] == 255 and data[at + _ONE] != 0):
            borrowed += _EIGHT
        else:
            byte = uint64(data[at])
            at += _TWO if byte == _BYTE else _ONE
        buffer |= byte << (_56 - count)
        count += _EIGHT
    return at, buffer, count, borrowed


@_compiled(types.Tuple((uint64, uint64, int64))(_WORDS, uint64, uint64))
def _symbol(codes: Any, offset: Any, buffer: Any) -> Any:
    """Return the bits that a symbol takes (0 if there is no such code), the symbol, and the value of its extra bits."""
    code = uint64(codes[offset | (buffer >> _48)])
    length, symbol = code & _LENGTH, code >> _FIVE
    size = symbol & uint64(15)
    if size == _Z:
        return length, symbol, 0
    bits = (buffer << length) >> (uint64(64) - size)
    return (length + size if length else _Z), symbol, _extend(int64(bits), int64(size))


@_compiled(uint64(uint64, uint64))
def _after(coefficient: Any, symbol: Any) -> Any:
    """Return the coefficient that follows an AC symbol; 0 if the symbol cannot stand here."""
    run, size = symbol >> _FOUR, symbol & uint64(15)
    if size == _Z and run == _Z:
        return _END
    following = coefficient + run + _ONE
    if size == _Z:
        return following if run == uint64(15) and following <= _63 else _Z
    return following if size <= uint64(10) and following <= uint64(64) else _Z


@_compiled(boolean(uint64, uint64))
def _at_marker(count: Any, borrowed: Any) -> Any:
    """Return whether no real bit is missing, and less than the byte that fills up the last one is left."""
    return borrowed <= count and count - borrowed < _EIGHT


@_compiled(uint64(_DATA, uint64, uint64))
def _after_restart(data: Any, at: Any, number: Any) -> Any:
    """Return the position after the restart marker of that number, which fill bytes may precede; 0 if there is none."""
    end = uint64(len(data))
    begin = at
    while at < end and data[at] == 255:
        at += _ONE
    return at + _ONE if begin < at < end and uint64(data[at]) == uint64(0xD0) + number else _Z


@_compiled(
    int64(
        _DATA,
        int64,
        uint64,
        uint64,
        uint64,
        boolean,
        types.UniTuple(uint64, 4),
        uint64[:, ::1],
        _SIGNED,
        _ENTRIES,
        _ENTRIES,
        _WORDS,
        _WORDS,
        _WORDS,
        _BYTES,
    )
)
def decode_scan(
    data: Any,
    position: Any,
    columns: Any,
    rows: Any,
    interval: Any,
    more: Any,
    inside: Any,
    blocks: Any,
    quantisation: Any,
    start: Any,
    steps: Any,
    skip: Any,
    dc_codes: Any,
    ac_codes: Any,
    planes: Any,
) -> int:
    """Decode the one scan of a baseline JPEG into `planes`, uint8, and return where its data ends, or -1 if broken.

    With rows left out at the bottom it returns a position before the end, at most at the marker that ends the data.

    Args:
        data: The file.
        position: Where the entropy-coded data begins.
        columns: MCUs in a row.
        rows: MCUs in a column, as far as they are wanted.
        interval: MCUs between restart markers.
        more: Whether the file has rows below these.
        inside: The first and last + 1 column, and the first and last + 1 row, of the MCUs that matter.
        blocks: For each block of an MCU that matters, and once more than there are, and then the same for an MCU that
            does not, of which the means are kept up that the next ones build on: component, which tables, where in
            `planes` the first one goes, how far on the one below, how far on the one to the right, and, if the four
            quarters are wanted rather than the mean, the width of the plane.
        quantisation: Of the coefficients 0, 1, 2 and 4 of each component.
        start: As from `fill_start`, tables one after another; so are the following.
        steps: As from `fill_steps`.
        skip: As from `fill_skip`.
        dc_codes: As from `fill_codes`.
        ac_codes: As from `fill_codes`.
        planes: Big enough for `blocks`.
    """
    # In one piece, with the bit buffer in local variables: numba counts references to the arrays that are handed to a
    # function, and in this loop that took a quarter of the time. Only what is rare is called.
    means, wanted = np.zeros(3, np.int64), np.zeros(256, np.int64)
    end, in_mcu = uint64(len(data)), uint64(len(blocks) // 2 - 1)
    first_column, last_column, first_row, last_row = inside
    at, buffer, count, borrowed = uint64(position), _Z, _Z, _Z
    left, number = interval, _Z
    row = _Z
    while row < rows:
        column = _Z
        while column < columns:
            if left == _Z:
                at = _after_restart(data, at, number) if _at_marker(count, borrowed) else _Z
                if at == _Z:
                    return -1
                buffer, count, borrowed = _Z, _Z, _Z
                left, number = interval, (number + _ONE) & _SEVEN
                means[:] = 0
            left -= _ONE
            block, following = in_mcu + _ONE, _Z
            if first_column <= column < last_column and first_row <= row < last_row:
                block = _Z
            last_block = block + in_mcu
            component, table = blocks[block, _Z], blocks[block, _ONE]
            while block < last_block:
                # Up to 63 bits into the buffer (F. Giesen, "Reading bits in far too many ways", variant 4).
                quick = False
                if at + _EIGHT <= end:
                    word = (
                        (uint64(data[at]) << _56)
                        | (uint64(data[at + _ONE]) << _48)
                        | (uint64(data[at + _TWO]) << uint64(40))
                        | (uint64(data[at + _THREE]) << uint64(32))
                        | (uint64(data[at + _FOUR]) << uint64(24))
                        | (uint64(data[at + _FIVE]) << _16)
                        | (uint64(data[at + uint64(6)]) << _EIGHT)
                        | uint64(data[at + _SEVEN])
                    )
                    # Is no byte 255? Otherwise it is a marker, or has a zero stuffed after it.
                    if ((~word - _EACH_LOWEST) & word & _EACH_HIGHEST) == _Z:
                        buffer |= word >> count
                        at += (_63 - count) >> _THREE
                        count |= _56
                        quick = True
                if not quick:
                    at, buffer, count, borrowed = _refill(data, at, buffer, count, borrowed)
                window = (table << uint64(WINDOW)) | (buffer >> _SHIFT)
                width = blocks[block, _FIVE]
                if following == _Z:
                    entry = uint64(start[window])
                    bits, following = entry & _LENGTH, (entry >> _FIVE) & _BYTE
                    value = int64(entry >> _16) - 32768
                    if entry == _Z:
                        bits, symbol, value = _symbol(dc_codes, table << _16, buffer)
                        following = _ONE
                        if bits == _Z or symbol > uint64(11):
                            return -1
                    buffer <<= bits
                    count -= bits
                    means[component] += value
                    mean = means[component] * quantisation[component << _TWO]
                    # Four times what any sample can be: no encoder makes it, and libjpeg would wrap it round.
                    if uint64(mean + 4096) > uint64(8192):
                        return -1
                    if width == _Z:
                        place = blocks[block, _TWO] + row * blocks[block, _THREE] + column * blocks[block, _FOUR]
                        planes[place] = min(max((mean + _LEVEL) >> 3, 0), 255)
                    else:
                        wanted[0], wanted[1], wanted[2], wanted[4] = mean + _LEVEL, 0, 0, 0
                    if following > _63:
                        block, following = block + _ONE, _Z
                        component, table = blocks[block, _Z], blocks[block, _ONE]
                        continue
                    if count < _THREE_WINDOWS:
                        continue
                    window = (table << uint64(WINDOW)) | (buffer >> _SHIFT)
                if following < _FIVE and width != _Z:
                    for _ in range(3):
                        entry = uint64(steps[(table << uint64(WINDOW)) | (buffer >> _SHIFT)])
                        bits = entry & _LENGTH
                        following += (entry >> _FIVE) & _BYTE
                        if bits == _Z:
                            break
                        buffer <<= bits
                        count -= bits
                        wanted[(following - _ONE) & _BYTE] = int64(entry >> _16) - 32768
                        if following >= _FIVE:
                            break
                    if bits == _Z:
                        if count < _LONGEST:
                            continue
                        bits, symbol, value = _symbol(ac_codes, table << _16, buffer)
                        following = _after(following, symbol)
                        if bits == _Z or following == _Z:
                            return -1
                        buffer <<= bits
                        count -= bits
                        wanted[(following - _ONE) & _BYTE] = value
                    if following < _FIVE:
                        continue
                    factors = component << _TWO
                    across = wanted[1] * quantisation[factors + _ONE]
                    down = wanted[2] * quantisation[factors + _TWO]
                    both = wanted[4] * quantisation[factors + _THREE]
                    place = blocks[block, _TWO] + row * blocks[block, _THREE] + column * blocks[block, _FOUR]
                    planes[place] = min(max((wanted[0] + across + down + both) >> 3, 0), 255)
                    planes[place + _ONE] = min(max((wanted[0] - across + down - both) >> 3, 0), 255)
                    planes[place + width] = min(max((wanted[0] + across - down - both) >> 3, 0), 255)
                    planes[place + width + _ONE] = min(max((wanted[0] - across - down + both) >> 3, 0), 255)
                    if following > _63:
                        block, following = block + _ONE, _Z
                        component, table = blocks[block, _Z], blocks[block, _ONE]
                    continue
                entry = uint64(skip[window])
                after = following + (entry >> _FIVE)
                for _ in range(2):
                    if after > _63:
                        break
                    following = after
                    buffer <<= entry & _LENGTH
                    count -= entry & _LENGTH
                    entry = uint64(skip[(table << uint64(WINDOW)) | (buffer >> _SHIFT)])
                    after = following + (entry >> _FIVE)
                if after <= _63:
                    following = after
                    buffer <<= entry & _LENGTH
                    count -= entry & _LENGTH
                    continue
                if _END <= after <= _END + _63:
                    buffer <<= entry & _LENGTH
                    count -= entry & _LENGTH
                else:
                    if count < _LONGEST:
                        continue
                    bits, symbol, value = _symbol(ac_codes, table << _16, buffer)
                    following = _after(following, symbol)
                    if bits == _Z or following == _Z:
                        return -1
                    buffer <<= bits
                    count -= bits
                    if following <= _63:
                        continue
                block, following = block + _ONE, _Z
                component, table = blocks[block, _Z], blocks[block, _ONE]
            if borrowed > count:
                return -1
            column += _ONE
        row += _ONE
    return int64(at) if more or _at_marker(count, borrowed) else -1
