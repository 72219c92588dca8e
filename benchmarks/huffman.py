"""Huffman codes as deflate has them, and the bits of the header that announces one."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

__all__ = [
    "DISTANCES",
    "EXTRA",
    "LITERALS",
    "PADDED",
    "SYMBOLS",
    "announced",
    "codes_of",
    "number",
    "precode_of",
    "sent_of",
    "tokens_of",
]

# Symbols as the kernel numbers them: literals and lengths, then distances.
LITERALS, DISTANCES, SYMBOLS, PADDED = 286, 288, 318, 320
EXTRA = np.zeros(PADDED, np.int64)
EXTRA[257:286] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0]
EXTRA[288:318] = np.maximum(np.arange(30) // 2 - 1, 0)


def huffman(counts: Sequence[int], longest: int) -> list[int]:
    """Code lengths; where a code would get too long, the rare symbols are taken to be less rare."""
    floor = 1
    while True:
        heap: list[tuple[int, int, tuple[int, ...]]] = [
            (max(count, floor), at, (at,)) for at, count in enumerate(counts) if count
        ]
        lengths = [0] * len(counts)
        if len(heap) == 1:
            lengths[heap[0][1]] = 1
            return lengths
        heapq.heapify(heap)
        while len(heap) > 1:
            (one, at, left), (two, _, right) = heapq.heappop(heap), heapq.heappop(heap)
            for symbol in left + right:
                lengths[symbol] += 1
            heapq.heappush(heap, (one + two, at, left + right))
        if max(lengths) <= longest:
            return lengths
        floor = floor * 2 if floor > 1 else max(2, sum(counts) >> longest)


def codes_of(lengths: Sequence[int]) -> list[str]:
    """The canonical code of RFC 1951 3.2.2, each as its bits in the order in which they are sent."""
    codes, code = [""] * len(lengths), 0
    for length in range(1, max(lengths) + 1):
        for symbol, its in enumerate(lengths):
            if its == length:
                codes[symbol] = f"{code:0{length}b}"
                code += 1
        code <<= 1
    return codes


def number(value: int, bits: int) -> str:
    """The bits of a number as deflate sends it, the lowest first."""
    return f"{value:0{bits}b}"[::-1] if bits else ""


def tokens_of(sent: Sequence[int]) -> list[tuple[int, int, int]]:
    """Code lengths as RFC 1951 3.2.7 writes them: symbols, with the value and number of their extra bits."""
    tokens: list[tuple[int, int, int]] = []
    at = 0
    while at < len(sent):
        length, run = sent[at], 1
        while at + run < len(sent) and sent[at + run] == length:
            run += 1
        at += run
        if length:
            tokens.append((length, 0, 0))
            run -= 1
        most = 6 if length else 138
        while run >= 3:
            some = min(run, most)
            tokens.append((16, some - 3, 2) if length else (17, some - 3, 3) if some < 11 else (18, some - 11, 7))
            run -= some
        tokens += [(length, 0, 0)] * run
    return tokens


def precode_of(tokens: Sequence[tuple[int, int, int]]) -> list[int]:
    """The lengths of the code in which they are sent."""
    often = [0] * 19
    for symbol, _, _ in tokens:
        often[symbol] += 1
    return huffman(often, 7)


def sent_of(lengths: Sequence[int]) -> tuple[int, int, list[int]]:
    """The numbers of literals and of distances that a block's header tells, and what it tells of them."""
    literals = max(at for at in range(LITERALS) if lengths[at]) + 1
    distances = max((at for at in range(30) if lengths[DISTANCES + at]), default=0) + 1
    return literals, distances, [*lengths[:literals], *lengths[DISTANCES : DISTANCES + distances]]


def announced(lengths: Sequence[int]) -> str:
    """The bits of a block's header from its type on (RFC 1951 3.2.7)."""
    literals, distances, sent = sent_of(lengths)
    tokens = tokens_of(sent)
    precode = precode_of(tokens)
    order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
    count = max(at for at in range(19) if precode[order[at]]) + 1
    codes = codes_of(precode)
    return (
        number(2, 2)
        + number(literals - 257, 5)
        + number(distances - 1, 5)
        + number(count - 4, 4)
        + "".join(number(precode[symbol], 3) for symbol in order[:count])
        + "".join(codes[symbol] + number(extra, bits) for symbol, extra, bits in tokens)
    )
