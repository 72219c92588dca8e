"""What a look at a source found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

__all__ = ["CheckReport", "Example", "Problem"]


@dataclass(frozen=True, slots=True)
class Example:
    """One value that breaks a rule: as text, None for a null, and where it stands, as far as that is known."""

    value: str | None
    row: int | None
    conversation_id: str | None
    message_id: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """A rule that values of a column break; `column` is None for lines that cannot be read.

    `count` is how many; with `more` there are others that were not counted. `examples` are the first few.
    """

    column: str | None
    rule: str
    advice: str
    count: int
    more: bool
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check_source` found.

    - `ok`: whether an export with the same options would succeed. It would not with `problems`, `missing_columns`,
      `torn_conversations`, or where the reading `stopped` before the end and why.
    - `messages`, `conversations`: what was read; `messages_in_range`, `conversations_in_range`: what would be exported.
    - `first_time`, `last_time`: of all messages (aware, UTC), None without any. `naive_times` of them have no offset
      from UTC and were taken to be in `timezone`.
    - `torn_conversations`: how many come back after another began; `torn_examples` are the first few.
    - `repeated_ids`: messages whose id another message of the same conversation has. They are exported as they are, and
      `verify_archive` warns of them; to sort with `dedupe` refuses them. `repeated_examples` are the first few. A torn
      conversation's pieces are held apart.
    - `long_cells`: exported cells of more than the 32,767 characters that a spreadsheet can hold; `longest_cell` is the
      largest of them, in characters (UTF-16).
    - `replaced_surrogates`, `ignored_columns`: as in `ExportReport`.
    - `missing_columns`: the required ones that are not there; `columns` are then those that are. `similar_columns` has,
      by the name of a column that is not there, those that are called so but for case and separators. `suggested_map`
      has SQL expressions for `read_mapped` and `--map` by column, None where nothing is called so; it is empty where no
      column is missing.
    """

    ok: bool
    messages: int
    conversations: int
    messages_in_range: int
    conversations_in_range: int
    first_time: datetime | None
    last_time: datetime | None
    timezone: str
    naive_times: int
    torn_conversations: int
    torn_examples: tuple[str, ...]
    repeated_ids: int
    repeated_examples: tuple[Example, ...]
    long_cells: int
    longest_cell: int
    replaced_surrogates: int
    ignored_columns: tuple[str, ...]
    columns: tuple[str, ...]
    missing_columns: tuple[str, ...]
    similar_columns: dict[str, tuple[str, ...]]
    suggested_map: dict[str, str | None]
    problems: tuple[Problem, ...]
    stopped: str | None

    def as_json(self) -> dict[str, Any]:
        """The same in JSON's types: the fields by name, times in ISO 8601."""
        made = asdict(self)
        for name in ("first_time", "last_time"):
            made[name] = made[name] and made[name].isoformat()
        return made
