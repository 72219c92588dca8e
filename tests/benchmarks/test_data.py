"""The data are reproducible and of the size asked for."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks import data


def test_a_seed_gives_the_same_table() -> None:
    """Reproducible; another seed is another table."""
    assert data.table(7, 500, seed=5).equals(data.table(7, 500, seed=5))
    assert not data.table(7, 500, seed=5).equals(data.table(7, 500, seed=6))


@pytest.mark.parametrize(("per", "rows"), [(1, 10), (3, 1000), (20, 1000), (200, 1000), (1000, 10)])
def test_a_table_is_of_the_size_asked_for(per: int, rows: int) -> None:
    """Exactly so many rows, conversations of about so many, valid Arrow, all of it exported for June."""
    table = data.table(per, rows)
    table.validate(full=True)
    sizes = table["conversation_id"].combine_chunks().value_counts().field("counts").to_pylist()
    assert sum(sizes) == len(table) == rows
    assert all((per + 1) // 2 <= size <= per + per // 2 for size in sizes[:-1])
    report = data.drain(table).report
    assert (report.rows, report.conversations) == (rows, len(sizes))


def test_repeated_rows_are_new_conversations() -> None:
    """Neither an id nor a file name comes again as the pool goes round; or all of it is one conversation."""
    pool = data.table(4, 200)
    names: list[str] = []
    report = data.drain(data.repeated(pool, 1000), on_member=lambda record: names.append(record.name)).report
    assert (report.rows, report.conversations) == (1000, 5 * pc.count_distinct(pool["conversation_id"]).as_py())
    assert not [name for name in names if re.search(r" \(\d+\)\.csv$", name)]
    assert data.drain(data.repeated(pool, 1000, one_conversation=True)).report.conversations == 1


def test_chitchat_is_exported_whole() -> None:
    """Every message of the data set lies in the days given."""
    chat = data.chitchat()
    report = data.drain(chat.table, chat.days).report
    assert (report.rows, report.conversations) == (258_145, 7_168)


def test_pool_is_shared() -> None:
    """Repeating copies no text: a source of any size costs the memory of its pool."""
    pool = data.table(4, 200)
    first = next(iter(data.repeated(pool, 400)))
    assert first["message_text"].buffers()[2].address == pa.table(pool)["message_text"].chunk(0).buffers()[2].address
