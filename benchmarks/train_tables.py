"""Make `export_engine/_tables.h`: the constants of the kernel, and the Huffman tables that it knows beforehand.

    pip install django==5.2.19 faker==40.63.0
    python -m benchmarks.train_tables

A small member pays more for its own Huffman table, in time and in bytes, than a table that fits about costs it. So the
kernel knows thirty, each with the header that announces it, and takes the cheapest. They are trained on CSVs
in the export's form whose words no benchmark and no test has: texts are Django's translations into 40 languages and
Python's own documentation, names come from Faker. Ids are of the kinds that services hand out.

Each table is that of a cluster of members (k-means with bits as the distance): the code that is best for them all, and
its own header counted in. A symbol that few of them have is left out of it, so that its header stays short; the kernel
gives a member only a table that has all its symbols.

The same versions give the same file.
"""

from __future__ import annotations

import ctypes
import math
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.huffman import (
    DISTANCES,
    EXTRA,
    LITERALS,
    PADDED,
    SYMBOLS,
    announced,
    codes_of,
    number,
    precode_of,
    sent_of,
    tokens_of,
)
from benchmarks.training_texts import conversation, languages

__all__ = ["main"]

PACKAGE = Path(__file__).parents[1] / "export_engine"
#: How many tables, and from how many members they are learnt.
TABLES = 31
MEMBERS = 20_000

# --- what the kernel makes of texts ----------------------------------------------------------------------------------

_SHIM = r"""
#define KERNEL_ONLY
#include "_native.c"
void counted(const uint8_t *data, size_t size, uint16_t *counts) {
    Search *search = malloc(sizeof *search);
    search_reset(search);
    search_begin(search, data, 0, size);
    search->count = 0;
    search_run(search);
    search->tokens[search->count++] = END_OF_BLOCK;
    count_tokens(search->tokens, search->count, counts);
    free(search);
}
"""


def counts_of(texts: Iterator[bytes]) -> NDArray[np.int64]:
    """How often each symbol is among the kernel's tokens of each text."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "shim.c"), Path(folder, "shim.so")
        source.write_text(_SHIM)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-w", f"-I{PACKAGE}", "-o", library, source], check=True)
        counted = ctypes.CDLL(str(library)).counted
        counted.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
        rows = []
        for text in texts:
            row = np.zeros(PADDED, np.uint16)
            counted(text, len(text), row.ctypes.data)
            rows.append(row)
    return np.array(rows).astype(np.int64)


# --- learning --------------------------------------------------------------------------------------------------------

#: What it costs, in bits, that a member cannot have a table because of a symbol: about what its own table takes more.
MISSED = 160
_START = [3, 7, 7, 6, 5, 4, 4, 3, 3, 3, 4, 5, 6, 7, 7, 7, 3, 5, 5]


def _run_costs(precode: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bits for a run of 1, 2, ... zeros, and of 1, 2, ... times each length from 1 to 15."""
    zeros = np.array([0.0, *(run * precode[0] for run in range(1, 139))])
    for run in range(3, 139):
        zeros[run] = min(zeros[run], precode[17] + 3 if run < 11 else precode[18] + 7)
    lengths = np.zeros((16, 20))
    for length in range(1, 16):
        for run in range(1, 20):
            lengths[length, run] = lengths[length, run - 1] + precode[length]
            for repeated in range(3, min(6, run - 1) + 1):
                lengths[length, run] = min(lengths[length, run], lengths[length, run - repeated] + precode[16] + 2)
    return zeros[1:], lengths[1:, 1:]


def _said_best(
    counts: NDArray[np.float64], having: NDArray[np.float64], members: int, price: float, precode: Sequence[float]
) -> list[int]:
    """Lengths that cost least, all told, where a code of `length` bits pays `price` / 2 ** `length` for its room.

    Dynamic programming over runs of equal lengths, as these are what the header is made of.
    """
    zeros, runs = _run_costs(precode)
    each = np.arange(1, 16)
    costs = np.zeros((len(counts) + 1, 16))
    costs[1:, 0] = np.cumsum(having * MISSED)
    costs[1:, 1:] = np.cumsum(counts[:, None] * each + price * 0.5**each, 0)
    best, back = np.zeros(len(counts) + 1), [(0, 0)]
    for at in range(1, len(counts) + 1):
        before = slice(max(0, at - len(zeros)), at)
        none = best[before][::-1] + members * zeros[:at] + costs[at, 0] - costs[before, 0][::-1]
        near = slice(max(0, at - runs.shape[1]), at)
        some = best[near][::-1] + members * runs[:, :at] + (costs[at, 1:] - costs[near, 1:][::-1]).T
        run, (length, its) = int(none.argmin()), divmod(int(some.argmin()), some.shape[1])
        if none[run] < some[length, its]:
            best[at] = none[run]
            back.append((0, run + 1))
        else:
            best[at] = some[length, its]
            back.append((length + 1, its + 1))
    lengths: list[int] = []
    at = len(counts)
    while at:
        length, run = back[at]
        lengths += [length] * run
        at -= run
    return lengths[::-1]


def _complete(lengths: list[int], counts: NDArray[np.float64]) -> list[int]:
    """A code that uses all its room: the symbols that gain most get what is left, or those that lose least give."""
    whole = 1 << 15
    room = whole - sum(whole >> length for length in lengths if length)
    while room < 0:
        giving = [at for at, length in enumerate(lengths) if 0 < length < 15]
        chosen = min(giving, key=lambda at: (counts[at] * 2.0 ** lengths[at], at))
        lengths[chosen] += 1
        room += whole >> lengths[chosen]
    while room:
        fitting = [at for at, length in enumerate(lengths) if length > 1 and whole >> length <= room]
        chosen = max(fitting, key=lambda at: (counts[at] * 2.0 ** lengths[at], -at))
        room -= whole >> lengths[chosen]
        lengths[chosen] -= 1
    return lengths


def _alphabet(members: NDArray[np.int64], precode: Sequence[float], needed: Sequence[int]) -> list[int]:
    """The code lengths for one of the two alphabets."""
    counts, having = members.sum(0) + 1e-3 * len(members), (members > 0).sum(0).astype(float)
    having[list(needed)] = 1e9
    low, high = 0.0, 64.0 * float(counts.sum())
    best: tuple[float, list[int]] = (math.inf, [])
    for _ in range(16):
        price = (low + high) / 2
        lengths = _said_best(counts, having, len(members), price, precode)
        if sum(0.5**length for length in lengths if length) <= 1:
            high = price
        else:
            low = price
        lengths = _complete(lengths, counts)
        tokens = tokens_of(lengths)
        header = sum(precode[symbol] + bits for symbol, _, bits in tokens) * len(members)
        said = np.array(lengths) > 0
        best = min(best, (float((counts * lengths).sum() + (having[~said]).sum() * MISSED + header), lengths))
    return best[1]


def best_lengths(members: NDArray[np.int64], before: list[int]) -> list[int]:
    """The code lengths that say these members in the fewest bits, the block's header included; or those `before`."""

    def bits(lengths: list[int]) -> float:
        return float((members @ costs_of(lengths)).sum()) + len(announced(lengths)) * len(members)

    best = (bits(before), before) if before else (math.inf, before)
    precode: list[float] = [float(length) for length in _START]
    for _ in range(3):
        literals = _alphabet(members[:, :LITERALS], precode, (256,))
        distances = _alphabet(members[:, DISTANCES:SYMBOLS], precode, ())
        lengths = [*literals, 0, 0, *distances, 0, 0]
        best = min(best, (bits(lengths), lengths))
        precode = [length or 7.0 for length in precode_of(tokens_of(sent_of(lengths)[2]))]
    return best[1]


def costs_of(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Bits for each symbol; what a table lacks costs about what a member's own table takes more."""
    costs = np.where(np.array(lengths) > 0, np.array(lengths) + EXTRA, MISSED)
    costs[[286, 287, 318, 319]] = 0
    return costs


def _begun(members: NDArray[np.int64], tables: int) -> NDArray[np.int64]:
    """A first partition: by what is like one of a few members, picked so that each is unlike those before."""
    rng = np.random.default_rng(3)
    common = members.mean(0) * 0.3 + 0.01
    least = np.full(len(members), np.inf)
    own = np.zeros(len(members), np.int64)
    at = 0
    for table in range(tables):
        likely = members[at] + common
        bits = -(members @ np.log2(likely / likely.sum()))
        own[bits < least] = table
        least = np.minimum(least, bits)
        excess = np.maximum(least - np.quantile(least / members.sum(1), 0.3) * members.sum(1), 0)
        at = int(rng.choice(len(members), p=excess / excess.sum()))
    return own


def trained(members: NDArray[np.int64], tables: int, rounds: int = 3) -> list[list[int]]:
    """Tables that together say the members best."""
    rng = np.random.default_rng(4)
    own = _begun(members, tables)
    best: tuple[float, list[list[int]]] = (math.inf, [])
    made: list[list[int]] = [[]] * tables
    for _ in range(rounds):
        made = made.copy()
        for table in range(tables):
            chosen = members[own == table]
            if len(chosen) < 50:  # a table that nobody wants begins again
                chosen, made[table] = members[rng.integers(0, len(members), 50)], []
            made[table] = best_lengths(chosen, made[table])
        bits = members @ np.array([costs_of(lengths) for lengths in made]).T + [len(announced(one)) for one in made]
        own = bits.argmin(1)
        best = min(best, (float(bits.min(1).mean()) / 8, made))
        lacking = (members @ (np.array(made) == 0).T.astype(np.int64)).min(1) > 0
        print(f"{bits.min(1).mean() / 8:.2f} bytes a member, {lacking.mean():.4f} of them without a table", flush=True)
    return best[1]


# --- writing ---------------------------------------------------------------------------------------------------------


def _array(values: Sequence[int]) -> str:
    lines, line = [], ""
    for value in values:
        if len(line) > 110:
            lines.append(line)
            line = ""
        line += f"{value}, "
    return "{\n    " + "\n    ".join([*lines, line.rstrip(", ")]).replace(", \n", ",\n") + "}"


def _table(name: str, lengths: Sequence[int], bits: str) -> tuple[str, str]:
    codes = [*codes_of(lengths[:DISTANCES]), *codes_of(lengths[DISTANCES:])]
    packed = [
        int(code[::-1] or "0", 2) | len(code) << 16 | (len(code) + int(extra)) << 24
        for code, extra in zip(codes, EXTRA, strict=True)
    ]
    words = [int(bits[at : at + 32][::-1], 2) for at in range(0, len(bits), 32)]
    return (
        f"static const uint32_t {name}[] = {_array(words)};",
        f"{{{name}, {len(bits)}, {_array(packed)}}}",
    )


def text_of(tables: Sequence[Sequence[int]]) -> str:
    """The header file."""
    fixed = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8 + [5] * 32
    all_tables = [*tables, fixed]
    headers = [*map(announced, tables), number(1, 2)]
    pairs = [_table(f"HEADER_{at}", *pair) for at, pair in enumerate(zip(all_tables, headers, strict=True))]
    lengths_of = list(zip(*all_tables, strict=True))
    costs = [[length and length + int(extra) for length in of] for of, extra in zip(lengths_of, EXTRA, strict=True)]
    saying = [sum(1 << at for at, length in enumerate(of) if length) for of in lengths_of]
    crc = [[0] * 256 for _ in range(8)]
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        crc[0][byte] = value
    for at in range(1, 8):
        crc[at] = [crc[0][value & 255] ^ value >> 8 for value in crc[at - 1]]
    logs = [0, *(int(math.log2(value) * 32 + 0.5) for value in range(1, 1024))]
    return "\n\n".join(
        [
            "/* Made by benchmarks/train_tables.py, which says from what. */",
            f"static const uint8_t REVERSED[256] = {_array([int(f'{byte:08b}'[::-1], 2) for byte in range(256)])};",
            f"/* Binary logarithms in units of 1/32. */\nstatic const uint16_t LOG2[1024] = {_array(logs)};",
            f"static const uint32_t CRC[8][256] = {{{', '.join(map(_array, crc))}}};",
            f"enum {{ TABLES_KNOWN = {len(all_tables)}, MOST_HEADER_BYTES = {max(map(len, headers)) // 8 + 1} }};",
            f"static const uint32_t ALL_TABLES = {(1 << len(all_tables)) - 1}u;",
            "/* For each symbol: the bits it takes in each table, and which tables have it, a bit each. */",
            f"static const uint16_t COSTS[{PADDED}][LANES] = {{{', '.join(map(_array, costs))}}};",
            f"static const uint32_t SAYING[{PADDED}] = {_array(saying)};",
            *(array for array, _ in pairs),
            "/* The trained tables, and at the end of them deflate's fixed ones. */",
            f"static const Table TABLES[TABLES_KNOWN] = {{{', '.join(table for _, table in pairs)}}};\n",
        ]
    )


def main() -> None:
    """Train and write the file."""
    rng = random.Random(1)  # noqa: S311  # nothing secret
    spoken = languages(rng)
    file = PACKAGE / "_tables.h"
    file.write_text(text_of([]), "ascii")  # the kernel's tokens do not depend on tables, but it wants some
    members = counts_of(conversation(rng, spoken) for _ in range(MEMBERS))
    file.write_text(text_of(trained(members, TABLES)), "ascii")


if __name__ == "__main__":
    main()
