"""Notices by e-mail: that an export has ended, through an SMTP server.

One message, as text and as HTML with the same words. Its recipient is one address and its headers are built from parsed
parts, so that nothing in a job can add a header or a second recipient; what stands in the HTML is escaped. Its
`Message-ID` and `Date` are the job's, so that a message sent twice can be known for the same one.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from html import escape
from typing import Literal, get_args
from urllib.parse import parse_qs, unquote, urlsplit

from export_engine.errors import OptionError
from export_engine.jobs.job import Job

__all__ = ["SmtpMailer", "Tls", "mailer_from_url", "notice_of"]

#: `none`: in the clear; `starttls`: encrypted before anything is said; `tls`: encrypted from the first byte.
Tls = Literal["none", "starttls", "tls"]

#: What a URL's scheme says of the encryption, and the port where it says nothing of it.
_SCHEMES: dict[str, tuple[Tls, int]] = {"smtp": ("none", 25), "smtp+starttls": ("starttls", 587), "smtps": ("tls", 465)}

#: Characters that need no quoting on either side, international ones too.
_ATOM = r"""[^\s\x00-\x1f\x7f"(),:;<>@\[\\\]]+"""
_ADDRESS = re.compile(rf"(?P<local>{_ATOM})@(?P<domain>{_ATOM})")


class SmtpMailer:
    """A `Mailer` that hands messages to an SMTP server, each over a connection of its own.

    `sender` is the address that messages come from. With `username` and `password` the server is logged in to. With
    `tls` other than `none` its certificate is verified by the system's authorities. `timeout` (seconds, 30 by default)
    bounds each answer waited for.

    Raises OptionError for a sender that is no address, an unknown `tls`, one of username and password alone, and for a
    password that would be sent in the clear to another machine.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        sender: str,
        username: str | None = None,
        password: str | None = None,
        tls: Tls = "none",
        timeout: float = 30,
    ) -> None:
        if tls not in get_args(Tls):
            raise OptionError(f"tls {tls!r} is unknown: {', '.join(get_args(Tls))}", option="tls")
        if (username is None) != (password is None):
            raise OptionError("username and password go together: give both or neither", option="username")
        if password is not None and tls == "none" and host not in ("localhost", "127.0.0.1", "::1"):
            raise OptionError(f"a password is not sent to {host} in the clear: use starttls or tls", option="tls")
        try:
            self._sender = _address(sender)
        except ValueError as error:
            raise OptionError(f"the sender cannot be used: {error}", option="sender") from None
        self._host, self._port, self._tls, self._timeout = host, port, tls, timeout
        self._login = None if username is None or password is None else (username, password)

    def send(self, job: Job, *, link: str | None) -> None:
        """Notify `job.notification_email` that the job has ended, with its link if it finished.

        Raises OSError (smtplib's errors are such) when the server cannot be reached or refuses the message, and
        ValueError as `notice_of` does.
        """
        message = notice_of(job, link, sender=self._sender)
        with self._connected() as server:
            server.send_message(message, to_addrs=[job.notification_email or ""])

    def _connected(self) -> smtplib.SMTP:
        if self._tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=self._timeout, context=ssl.create_default_context()
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
        try:
            if self._tls == "starttls":
                server.starttls(context=ssl.create_default_context())
            if self._login is not None:
                server.login(*self._login)
        except BaseException:
            server.close()
            raise
        return server


def mailer_from_url(url: str) -> SmtpMailer:
    """A mailer by its URL: `smtp://user:password@host:25?from=exports@example.com`.

    The scheme is `smtp`, `smtp+starttls` or `smtps`; the port is 25, 587 or 465 unless it is given. What is special in
    a URL is percent-encoded in the user's name and password. Raises OptionError, which does not repeat the URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong_url("cannot be read") from None
    if parts.scheme not in _SCHEMES:
        raise _wrong_url("has an unknown scheme")
    if not parts.hostname:
        raise _wrong_url("has no host")
    query = parse_qs(parts.query, keep_blank_values=True)
    if set(query) != {"from"} or len(query["from"]) != 1 or parts.path.strip("/") or parts.fragment:
        raise _wrong_url("must have the sender as `from`, and nothing else behind the host")
    tls, usual_port = _SCHEMES[parts.scheme]
    return SmtpMailer(
        parts.hostname,
        port or usual_port,
        sender=query["from"][0],
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        tls=tls,
    )


def _wrong_url(problem: str) -> OptionError:
    return OptionError(
        f"the mail server's URL {problem}: write smtp://user:password@host:25?from=exports@example.com (or "
        "smtp+starttls://, smtps://)",
        option="url",
    )


def notice_of(job: Job, link: str | None, *, sender: Address) -> EmailMessage:
    """The notice of a job's end: with its link, which is None exactly if it failed.

    Raises ValueError for a job that has not ended or has no address, and for a link that does not fit its end.
    """
    if job.notification_email is None or job.finished_time is None or (link is None) != (job.expires_at is None):
        raise ValueError(f"job {job.id} has no notice: it has not ended, has no address or not the link it needs")
    date_range = f"{job.start_date} to {job.end_date}"
    message = EmailMessage()
    message["From"] = sender
    message["To"] = _address(job.notification_email)
    message["Date"] = job.finished_time
    message["Message-ID"] = f"<{job.id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies
    if job.expires_at is not None:
        message["Subject"] = f"Your conversation export is ready ({date_range})"
        paragraphs = [
            f"Your export of the conversations from {date_range} is ready.",
            f"Download {job.file_name}:",
            f"The link works until {job.expires_at:%Y-%m-%d %H:%M} UTC, without signing in: share it with care.",
        ]
    else:
        message["Subject"] = f"Your conversation export failed ({date_range})"
        paragraphs = [
            f"Your export of the conversations from {date_range} failed; there is no file to download.",
            f"Reason: {job.error_message}",
            "You can trigger the export again.",
        ]
    paragraphs.append(f"Export job: {job.id}")
    message.set_content(_as_text(paragraphs, link))
    message.add_alternative(_as_html(paragraphs, link), subtype="html")
    return message


def _address(text: str) -> Address:
    """One address, taken apart. Raises ValueError for anything that could be more than that."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:100]!r} is not one plain e-mail address")
    return Address(username=found["local"], domain=found["domain"])


def _as_text(paragraphs: list[str], link: str | None) -> str:
    first, second, *rest = paragraphs
    return "\n\n".join([first, second if link is None else f"{second}\n{link}", *rest]) + "\n"


def _as_html(paragraphs: list[str], link: str | None) -> str:
    first, second, *rest = (f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
    if link is not None:
        second += f'\n<p><a href="{escape(link)}">{escape(link)}</a></p>'
    return "\n".join(["<!DOCTYPE html>", '<html lang="en"><body>', first, second, *rest, "</body></html>"]) + "\n"
