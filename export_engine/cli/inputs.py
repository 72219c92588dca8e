"""The options that say where rows come from, for every command that reads them: they become one `Inputs`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from export_engine.cli.options import with_options
from export_engine.sources import Source
from export_engine.sources.formats import Format, checked_format
from export_engine.sources.inputs import checked_inputs, opened
from export_engine.sources.open import ending_format, expanded, open_source
from export_engine.sources.urls import is_url

if TYPE_CHECKING:
    from export_engine.batch.lake import Lake
    from export_engine.sources.mapped import Mapped
    from export_engine.sources.mapping import MappedFormat

__all__ = ["Inputs", "input_options", "lake_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the command line says of the rows; `source` reads them.

    `query` is an SQL text, `parameters` its values, `columns` what `--map` says. What cannot stand together is refused
    by `checked`.
    """

    inputs: tuple[str, ...] = ()
    format: Format | None = None
    encoding: str | None = None
    delimiter: str | None = None
    escape: str | None = None
    query: str | None = None
    parameters: Mapping[str, str | list[str]] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    sort: bool = False
    dedupe: bool = False
    memory_limit: str | None = None
    spill_folder: str | None = None
    database: str | None = field(default=None, repr=False)
    statement_timeout: float | None = None

    def checked(self, *, lake: bool = False) -> Inputs:
        """The same. Raises UsageError for what is missing and for what means nothing together; a `lake` is sorted."""
        if lake:
            self._refuse("a lake", "it is files", "database", "statement_timeout")
        if self.query is None:
            self._refuse("INPUT", "it is for a query over a database: give --sql", "database", "statement_timeout")
        if self.database is None:
            self._refuse("files", "it is for a query over a database: give --database", "statement_timeout")
        if self.query is None and not self.inputs:
            raise click.UsageError("say what to read: INPUT (a file, or - for standard input), or --sql")
        if self.query is not None:
            if self.inputs:
                raise click.UsageError(
                    f"--sql names its files itself, and {self.inputs[0]} is given too: write it into the query, or "
                    "bind it (FROM read_csv($files), --param files=…)"
                )
            self._refuse("--sql", "it goes into the query", "format", "encoding", "delimiter", "escape", "columns")
        else:
            self._refuse("INPUT", "a parameter is a value of a query's: give --sql", "parameters")
        if not (lake or self.query or self.columns or self.where or self.sort or self.dedupe):
            self._refuse("plain files", "it is for --sql, --map, --where and --sort", "memory_limit", "spill_folder")
        return self

    def _refuse(self, other: str, advice: str, *names: str) -> None:
        for name in names:
            if getattr(self, name):
                raise click.UsageError(f"{_FLAGS[name]} cannot stand with {other}: {advice}")

    def source(self) -> Source:
        """What reads the rows. Raises OptionError, and UsageError for a file that is not there."""
        if "-" in self.inputs and sys.stdin is not None and sys.stdin.isatty():
            raise click.UsageError("- is standard input, and that is the terminal: pipe the data in, or give a file")
        try:
            return self._sorted(self._rows())
        except FileNotFoundError as error:
            where = "INPUT" if self.database is None else "--database"
            raise click.UsageError(f"{where}: {error.filename} does not exist") from None

    def sql(self) -> str:
        """The query that `source` runs, its parameters before it as comments. Raises UsageError where there is none."""
        if self.query is not None:
            query, parameters = self.query, self.parameters
        else:
            mapped = self._mapped()
            if mapped is None:
                raise click.UsageError("--show-sql shows the query of --sql, --map, or --where over flat files")
            query, parameters = mapped.query(), {"files": list(self.inputs)}
        values = [
            (name, v) for name, value in parameters.items() for v in ([value] if isinstance(value, str) else value)
        ]
        said = [f"-- {line}" for name, value in values for line in f"--param {name}={value}".splitlines()]
        return "\n".join([*said, query])

    def lake(self, channels: Path | None) -> Lake:
        """The rows of many channels. Raises as `source` does."""
        from export_engine.batch.lake import Lake  # noqa: PLC0415  # loaded when used, there with the extra

        more: dict[str, Any] = self._bounds() | {"channels": channels}
        if self.query is not None:
            return Lake.of_query(self.query, self.parameters, where=self.where, **more)
        files = self._files()
        given = {"encoding": self.encoding, "delimiter": self.delimiter, "escape": self.escape}
        how: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        kinds = {_kind(file, self.format, is_text=self.encoding is not None) for file in files}
        if kinds == {"nested"}:
            self._refuse("conversations", "their keys are the model's", "columns", "encoding", "delimiter", "escape")
            return Lake.of_conversations(files, where=self.where, **more)
        if len(kinds) > 1 or not kinds <= {"csv", "jsonl", "parquet"}:
            found = ", ".join(
                sorted({"nested": "JSON Lines with conversations"}.get(kind, str(kind)) for kind in kinds)
            )
            raise click.UsageError(
                f"INPUT: a lake is files of one kind, CSV, JSON Lines or Parquet, and these are {found}: give one "
                "kind, or --sql"
            )
        return Lake.of_files(files, kinds.pop(), columns=self.columns, where=self.where, **how, **more)

    def _files(self) -> list[str]:
        if "-" in self.inputs:
            raise click.UsageError("a lake is read more than once, and standard input cannot be: give files")
        files = expanded(self.inputs)
        try:
            checked_inputs(files)
        except FileNotFoundError as error:
            raise click.UsageError(f"INPUT: {error.filename} does not exist") from None
        names = [str(file) for file in files]
        _refuse_twice(names)
        return names

    def _bounds(self) -> dict[str, Any]:
        given = {"memory_limit": self.memory_limit, "spill_folder": self.spill_folder}
        return {name: value for name, value in given.items() if value is not None}

    def _sorted(self, source: Source) -> Source:
        if not (self.sort or self.dedupe):
            return source
        from export_engine.sources.sorting import sorted_rows  # noqa: PLC0415  # loaded when used, there with the extra

        return sorted_rows(source, dedupe=self.dedupe, **self._bounds())

    def _rows(self) -> Source:
        if self.query is not None and self.database is not None:
            from export_engine.sources.database import read_database  # noqa: PLC0415  # the same

            seconds = self.statement_timeout
            timeout = None if seconds is None else timedelta(seconds=seconds)
            source = read_database(self.database, self.query, self.parameters, statement_timeout=timeout)
            return self._filtered(source)
        if self.query is not None:
            from export_engine.sources.sql import read_sql  # noqa: PLC0415  # the same

            return self._filtered(read_sql(self.query, self.parameters, **self._bounds()))
        plain = open_source(
            *self.inputs, format=self.format, encoding=self.encoding, delimiter=self.delimiter, escape=self.escape
        )  # its checks are those of every input
        if not (self.columns or self.where):
            return plain
        return self._mapped() or self._filtered(plain)

    def _filtered(self, source: Source) -> Source:
        if self.where is None:
            return source
        from export_engine.sources.filtering import filtered  # noqa: PLC0415  # the same

        return filtered(source, self.where, **self._bounds())

    def _mapped(self) -> Mapped | None:
        """What reads flat files by the names of their own columns; None where there are no such files or no need."""
        if not (self.columns or self.where):
            return None
        from export_engine.sources.mapped import read_mapped  # noqa: PLC0415  # the same

        format_ = self._mapped_format()
        if format_ is None:
            if self.columns:
                raise click.UsageError(
                    "--map reads CSV, JSON or Parquet, all inputs of one kind: of a pipe say which with --format"
                )
            return None
        return read_mapped(
            *self.inputs,
            columns=self.columns,
            where=self.where,
            format=format_,
            encoding=self.encoding,
            delimiter=self.delimiter,
            escape=self.escape,
            **self._bounds(),
        )

    def _mapped_format(self) -> MappedFormat | None:
        files = expanded(self.inputs)
        kinds = {_kind(str(file), self.format, is_text=self.encoding is not None) for file in files}
        (kind,) = kinds if len(kinds) == 1 else ("several",)
        if kind == "nested" or (kind == "jsonl" and not all(map(_again, files))):
            return "jsonl" if self.columns else None  # what is in a pipe is not known before it is read
        formats: dict[str | None, MappedFormat] = {"csv": "csv", "jsonl": "jsonl", "parquet": "parquet"}
        return formats.get(kind)


def _again(file: Any) -> bool:
    """Whether an input can be opened more than once."""
    return is_url(file) or Path(file).is_file()


def _refuse_twice(files: Iterable[str]) -> None:
    """Raise UsageError for a file that another is too, be it by a link: a lake would have its messages twice."""
    seen: dict[object, str] = {}
    for file in files:
        found = None if is_url(file) else os.stat(file)  # noqa: PTH116  # its device too
        if (before := seen.setdefault((found.st_dev, found.st_ino) if found else file, file)) is not file:
            other = "" if before == file else f", as {before}"
            raise click.UsageError(f"INPUT: {file} is there twice{other}, and so would be its messages: give it once")


def _kind(path: str, said: Format | None, *, is_text: bool) -> Any:
    """The format of an input, `nested` for JSON Lines with a conversation a line; None if it is not known."""
    kind = said or ending_format(path)
    if not _again(path):
        return kind
    if kind in (None, "jsonl"):
        from export_engine.sources.jsonl_nested import looks_nested  # noqa: PLC0415  # loaded when used

        with opened(path) as file:
            kind = kind or checked_format(file, said, is_text=is_text)
            if kind == "jsonl" and file.peek(1) != b"[" and looks_nested(file.first_line()):
                return "nested"
    return kind


def _text_of(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A query, or that in a file if the value ends in .sql."""
    del ctx, parameter
    if value is None or not value.lower().endswith(".sql"):
        return value
    try:
        return Path(value).read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"--sql: {value}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"--sql: {value} is not UTF-8") from None


def _pairs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, str]]:
    """NAME=VALUE, parted at the first =."""
    del ctx
    flag = parameter.opts[0]
    pairs = []
    for value in values:
        name, equals, rest = value.partition("=")
        if not equals or not name.strip():
            raise click.UsageError(f"{flag} {value}: write NAME=VALUE")
        pairs.append((name.strip(), rest))
    return pairs


def _parameters(*given: Any) -> dict[str, str | list[str]]:
    """Values by name; a name that is given more than once has a list."""
    values: dict[str, list[str]] = {}
    for name, value in _pairs(*given):
        values.setdefault(name, []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def _columns(*given: Any) -> dict[str, str]:
    pairs = _pairs(*given)
    for at, (name, _) in enumerate(pairs):
        if name in dict(pairs[:at]):
            raise click.UsageError(f"--map says twice what {name} is")
    return dict(pairs)


#: For rows that are exported as they come, in one go.
_UNSORTED = (
    click.option("--sort", is_flag=True, help="Sort the rows by conversation_id, message_time and message_id."),
    click.option(
        "--dedupe",
        is_flag=True,
        help="Sort, and read rows that are there twice once; a message id with two contents is an error.",
    ),
    click.option("--show-sql", is_flag=True, help="Print the query that would be run, and exit."),
)

_OPTIONS = (
    click.argument("inputs", metavar="[INPUT...]", nargs=-1),
    click.option(
        "--format",
        type=click.Choice(get_args(Format)),
        help="What the inputs are (default: as their endings or their content say).",
    ),
    click.option("--encoding", help="Encoding of CSV input, such as utf-16, cp1252 or shift_jis (default: UTF-8)."),
    click.option(
        "--delimiter",
        metavar="CHARACTER",
        callback=lambda _ctx, _parameter, value: "\t" if value == r"\t" else value,
        help=r"What separates the cells of CSV input, such as ';' or '\t' (default: ',').",
    ),
    click.option(
        "--csv-escape",
        "escape",
        metavar="CHARACTER",
        help=r"What CSV input escapes quotes with, such as '\' (default: quotes are doubled).",
    ),
    click.option(
        "--sql",
        "query",
        metavar="QUERY",
        callback=_text_of,
        help="Read the rows of a query over files instead, run by DuckDB; QUERY is its text, or a file ending in .sql.",
    ),
    click.option(
        "--param",
        "parameters",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_parameters,
        help="The value of $NAME in the query (:NAME with --database), a text; given more than once, a list of them. "
        "Repeatable.",
    ),
    click.option(
        "--database",
        metavar="URL",
        help="Where the query is run instead: postgresql://user@host/name, mysql:// or sqlite:///file.db; its "
        "parameters are written :NAME. All users of this machine can read what stands here: leave the password out, "
        "and give it in ~/.pgpass or PGPASSWORD.",
    ),
    click.option(
        "--statement-timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0.001),
        help="How long the database may work on the query's next rows (default: as long as it takes).",
    ),
    click.option(
        "--map",
        "columns",
        metavar="NAME=EXPR",
        multiple=True,
        callback=_columns,
        help="What makes the column NAME: an SQL expression over the input's own columns. Repeatable.",
    ),
    click.option("--where", metavar="CONDITION", help="Read only the rows for which this SQL condition is true."),
    *_UNSORTED,
    click.option(
        "--memory-limit",
        metavar="SIZE",
        help="What SQL and sorting may hold before they spill (default: 256MB, of batch 1GB).",
    ),
    click.option(
        "--spill-folder", metavar="FOLDER", help="Where they spill to (default: the system's temporary folder)."
    ),
)


def lake_options(command: _Command) -> _Command:
    """The same for many channels' rows, which are put in order anyway."""

    @wraps(command)
    def run(*arguments: Any, **others: Any) -> Any:
        said = {name: others.pop(name) for name in Inputs.__dataclass_fields__ if name in others}
        return command(*arguments, inputs=Inputs(**said).checked(lake=True), **others)

    return with_options(*(option for option in _OPTIONS if option not in _UNSORTED))(run)  # type: ignore[return-value]  # the same


def input_options(command: _Command) -> _Command:
    """Give a command the arguments and options that say what to read; it is called with one `Inputs` as `inputs`.

    `--show-sql` is done here. Raises UsageError, when the command is run, for what cannot stand together.
    """

    @wraps(command)
    def run(*arguments: Any, show_sql: bool, **others: Any) -> Any:
        said = {name: others.pop(name) for name in Inputs.__dataclass_fields__}
        inputs = Inputs(**said).checked()
        if show_sql:
            click.echo(inputs.sql())
            return None
        return command(*arguments, inputs=inputs, **others)

    return with_options(*_OPTIONS)(run)  # type: ignore[return-value]  # the same command with other options


#: What the fields are called on the command line.
_FLAGS = {
    "format": "--format",
    "encoding": "--encoding",
    "delimiter": "--delimiter",
    "escape": "--csv-escape",
    "columns": "--map",
    "parameters": "--param",
    "memory_limit": "--memory-limit",
    "spill_folder": "--spill-folder",
    "database": "--database",
    "statement_timeout": "--statement-timeout",
}
