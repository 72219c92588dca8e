"""The command `export-engine`: export conversations from files, verify an archive, look into one, run the service.

What was done goes to stdout; progress, warnings and errors go to stderr, progress only where that is a terminal. An
interrupted or failed export leaves nothing behind. Text from inputs and archives reaches the terminal only through
`printable`, and never as rich's markup.
"""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Literal, NoReturn
from zipfile import ZipFile

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Display
from rich.text import Text

from export_engine import __version__
from export_engine.engine import Export, export_conversations
from export_engine.errors import ExportError, OptionError
from export_engine.model import Channel, DateRange
from export_engine.naming import DEFAULT_BUDGET, MAX_BUDGET, MIN_BUDGET
from export_engine.render import CsvFormat
from export_engine.report import ExportReport, Progress
from export_engine.service.commands import COMMANDS
from export_engine.sources.choose import open_source
from export_engine.verify import conversation_text, members, printable, verify_archive

__all__ = ["main"]

_DONE, _FAILED, _USAGE, _PROBLEMS, _INTERRUPTED = 0, 1, 2, 3, 130

_EXIT_CODES = """\b
Exit codes:
  0    done
  1    failed: input that cannot be exported, a full disk, a file that exists already
  2    wrong usage
  3    verify found problems
  130  interrupted; nothing is left behind"""

#: What the library calls options that have another name here.
_FLAGS = {
    "zone": "--timezone",
    "export_id": "--id",
    "date_range": "--start / --end",
    "conversation": "CONVERSATION",
    "paths": "INPUT",
}

#: Width of what stands before a message's text.
_INDENT = 18

_DAY = click.DateTime(formats=["%Y-%m-%d"])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def main() -> NoReturn:
    """Run the command with the process's arguments and exit."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same clean end as Ctrl-C
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks is no failure
    sys.exit(_run())


def _run() -> int:
    try:
        code = commands.main(prog_name="export-engine", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return _INTERRUPTED
    except OptionError as error:
        flag = _FLAGS.get(error.option, f"--{error.option.replace('_', '-')}")
        return _failed(f"{flag}: {error}", _USAGE)
    except ExportError as error:
        return _failed(str(error), _FAILED)
    except OSError as error:
        reason = error.strerror or str(error)
        return _failed(f"{error.filename}: {reason}" if error.filename else reason, _FAILED)
    return code if isinstance(code, int) else _DONE


def _failed(message: str, code: int) -> int:
    click.echo(f"error: {printable(' '.join(message.splitlines()))}", err=True)
    return code


@click.group(epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="export-engine")
def commands() -> None:
    """Conversations in, one ZIP of CSVs out."""


for _command in COMMANDS:  # those of the service
    commands.add_command(_command)


# --- export --------------------------------------------------------------------------------------------------------


@commands.command(epilog=_EXIT_CODES)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=_FILE)
@click.option("--channel-name", help="The channel's name.")
@click.option("--channel-phone", help="The channel's phone number.")
@click.option("--channel-id", help="The channel's id. At least one of the three is needed.")
@click.option("--start", required=True, type=_DAY, metavar="YYYY-MM-DD", help="First day of the range.")
@click.option("--end", required=True, type=_DAY, metavar="YYYY-MM-DD", help="Last day of the range, included.")
@click.option("--timezone", default="UTC", show_default=True, help="Of the days, naive times and times written.")
@click.option(
    "--output", default=".", metavar="PATH", help="A directory (default: here), a file's path, or - for stdout."
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option(
    "--compression", default="fast", show_default=True, type=click.Choice(["fast", "balanced", "small", "store"])
)
@click.option(
    "--range-by",
    default="message_time",
    show_default=True,
    type=click.Choice(["message_time", "created_at"]),
    help="Export the messages sent in the range, or whole the conversations created in it.",
)
@click.option("--excel", is_flag=True, help="For people who open the CSVs in Excel: --bom and --formula-guard.")
@click.option("--bom", is_flag=True, help="Begin each CSV with a byte order mark.")
@click.option("--lf", is_flag=True, help="End lines with LF instead of CRLF.")
@click.option("--formula-guard", is_flag=True, help="Put ' before cells that a spreadsheet could take for a formula.")
@click.option("--bare-e164", is_flag=True, help="With the guard, leave phone numbers such as +12025550123 as they are.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Also list the CSVs in a .jsonl or .parquet file.")
@click.option("--id", "export_id", help="Last part of the ZIP's name (default: 8 random hexadecimal digits).")
@click.option("--threads", type=click.IntRange(min=1), help="How many deflate (default: the processors, at most 8).")
@click.option(
    "--name-budget",
    default=DEFAULT_BUDGET,
    show_default=True,
    type=click.IntRange(MIN_BUDGET, MAX_BUDGET),
    help="The most bytes of a CSV's name.",
)
@click.option("--strict", is_flag=True, help="Refuse text that is no Unicode instead of writing U+FFFD.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["parquet", "ipc", "csv", "jsonl"]),
    help="What the inputs are (default: as their endings say).",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def export(
    inputs: tuple[Path, ...],
    channel_name: str | None,
    channel_phone: str | None,
    channel_id: str | None,
    start: datetime,
    end: datetime,
    timezone: str,
    output: str,
    overwrite: bool,
    compression: str,
    range_by: Literal["message_time", "created_at"],
    excel: bool,
    bom: bool,
    lf: bool,
    formula_guard: bool,
    bare_e164: bool,
    manifest: Path | None,
    export_id: str | None,
    threads: int | None,
    name_budget: int,
    strict: bool,
    kind: Literal["parquet", "ipc", "csv", "jsonl"] | None,
    quiet: bool,
) -> None:
    """Export a channel's conversations.

    Those with messages in a range of days become one ZIP with a CSV each. INPUT are Parquet, Arrow IPC, CSV or JSON
    Lines files, read one after the other; the rows of a conversation must stand together. The archive is called
    <channel>_<YYYY-MM>_<id>.zip unless --output says otherwise.
    """
    if not (channel_name or channel_phone or channel_id):
        raise click.UsageError("say whose conversations these are: --channel-name, --channel-phone or --channel-id")
    if bare_e164 and not (formula_guard or excel):
        raise click.UsageError("--bare-e164 is an exception from --formula-guard (or --excel): give that too")
    to_stdout = output == "-"
    if to_stdout and manifest:
        raise click.UsageError("--manifest needs an archive in a file: give --output a path")
    if to_stdout and sys.stdout.isatty():
        raise click.UsageError("an archive would garble the terminal: redirect stdout, or give --output a path")
    with _export_display(quiet=quiet) as on_progress:
        made = export_conversations(
            open_source(*inputs, format=kind),
            channel=Channel(channel_name, channel_phone, channel_id),
            date_range=DateRange(start.date(), end.date()),
            zone=timezone,
            range_by=range_by,
            compression=compression,
            csv_format=CsvFormat(
                bom=bom or excel,
                line_end="\n" if lf else "\r\n",
                formula_guard=formula_guard or excel,
                bare_e164=bare_e164,
            ),
            export_id=export_id,
            name_budget=name_budget,
            threads=threads,
            strict=strict,
            archive_hash=not quiet,
            on_progress=on_progress,
        )
        where = _to_stdout(made) if to_stdout else str(made.write_to(output, overwrite=overwrite, manifest=manifest))
    if quiet:
        return
    if not made.report.conversations:
        click.echo("warning: no conversation falls in this range; unzip calls an empty archive an error", err=True)
    if not to_stdout or sys.stderr.isatty():
        click.echo(_summary(where, made.report), err=to_stdout)


def _to_stdout(made: Export) -> str:
    for chunk in made:
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
    return made.file_name


def _summary(where: str, report: ExportReport) -> str:
    """The archive's path in the first line, the facts below it."""
    rate = report.rows / report.elapsed if report.elapsed else 0
    facts = {
        "conversations": f"{report.conversations:,}",
        "messages": f"{report.rows:,}",
        "span": f"{_time(report.first_time)} to {_time(report.last_time)} UTC" if report.first_time else "",
        "size": f"{_size(report.bytes)} for {_size(report.csv_bytes)} of CSV, {report.csv_bytes / report.bytes:.2f}:1",
        "time": f"{report.elapsed:.2f} s, {rate:,.0f} messages/s, {report.backend}",
        "sha256": report.sha256,
        "replaced": f"{report.replaced_surrogates:,} lone surrogates by U+FFFD" if report.replaced_surrogates else "",
        "ignored": f"columns {', '.join(report.ignored_columns)}" if report.ignored_columns else "",
        "split": f"conversations {', '.join(report.split)}" if report.split else "",
    }
    return "\n".join([printable(where), *(f"  {name:13}  {printable(fact)}" for name, fact in facts.items() if fact)])


def _size(number: int) -> str:
    return decimal(number).replace("bytes", "B").replace("byte", "B")


def _time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else ""


@contextmanager
def _export_display(*, quiet: bool) -> Iterator[Callable[[Progress], object] | None]:
    """What to tell of progress, None where there is no terminal to show it on."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Display(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task("reading", total=None)

        def tell(now: Progress) -> None:
            counts = f"{now.members:,} conversations, {now.rows_written:,} messages"
            display.update(task, description=f"{counts}, {_size(now.bytes_written)}")

        yield tell


# --- verify --------------------------------------------------------------------------------------------------------


@commands.command(epilog=_EXIT_CODES)
@click.argument("archive", type=_FILE)
@click.option("--manifest", type=_FILE, help="The manifest written with the archive (.jsonl or .parquet).")
def verify(archive: Path, manifest: Path | None) -> int:
    """Check an archive, to every row in it.

    That is the ZIP, the names, each CSV's rows, and whether a manifest says the same.
    """
    with _verify_display() as progress:
        found = verify_archive(archive, manifest, progress=progress)
    click.echo(
        f"{found.members:,} CSVs, {found.conversations:,} conversations, {found.rows:,} messages, "
        f"{_size(found.bytes)}: {'no problems' if found.ok else 'problems found'}"
    )
    for problem in found.problems:
        click.echo(f"  {printable(problem)}")
    return _DONE if found.ok else _PROBLEMS


@contextmanager
def _verify_display() -> Iterator[Callable[[int, int], object] | None]:
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("reading"), BarColumn(), TimeElapsedColumn())
    with Display(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task("reading")
        yield lambda done, total: display.update(task, completed=done, total=total)


# --- inspect -------------------------------------------------------------------------------------------------------


@commands.command(epilog=_EXIT_CODES)
@click.argument("archive", type=_FILE)
@click.argument("conversation", required=False)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="The most CSVs to list.")
def inspect(archive: Path, conversation: str | None, limit: int) -> None:
    """List an archive's CSVs, or print one conversation.

    CONVERSATION is a CSV's name, a part of it that no other name has, or a conversation's id.
    """
    if conversation is None:
        _print_members(archive, limit)
        return
    console = Console(highlight=False) if sys.stdout.isatty() else None
    for line in conversation_text(archive, conversation):
        if console is None:
            click.echo(line)
        else:
            for piece in _folded(console, line):
                console.print(piece, soft_wrap=True)


def _print_members(archive: Path, limit: int) -> None:
    row = "{:>10}  {:>9}  {:>9}  {:16}  {:16}  {}".format
    for number, record in enumerate(islice(members(archive), limit)):
        if not number:
            click.echo(row("messages", "CSV", "deflated", "first", "last", "name"))
        sizes = (_size(record.csv_bytes), _size(record.deflated_bytes))
        times = (_time(record.first_time), _time(record.last_time))
        click.echo(row(f"{record.rows:,}", *sizes, *times, printable(record.name)))
    with ZipFile(archive) as directory:
        infos = directory.infolist()
    csv, deflated = (_size(sum(getattr(info, field) for info in infos)) for field in ("file_size", "compress_size"))
    rest = f"; the first {limit:,} are listed, --limit lists more" if len(infos) > limit else ""
    click.echo(f"{len(infos):,} CSVs, {csv} of CSV, {deflated} deflated{rest}")


def _folded(console: Console, line: str) -> Iterator[Text]:
    """The line in pieces as wide as the terminal, all but the first indented."""
    head = Text(line[:_INDENT])
    for piece in Text(line[_INDENT:]).wrap(console, max(console.width - _INDENT, _INDENT)):
        yield head + piece
        head = Text(" " * _INDENT)
