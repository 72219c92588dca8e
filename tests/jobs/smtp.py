"""A real SMTP server on a port of its own, which keeps what it is given."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Mailbox:
    """What a server was given, and where it listens. It answers `refusal` to recipients, if it has one."""

    refusal: str | None = None
    port: int = 0
    envelopes: list[Envelope] = field(default_factory=list)

    @property
    def messages(self) -> list[EmailMessage]:
        """The messages, parsed."""
        contents = [envelope.content for envelope in self.envelopes]
        found = [message_from_bytes(data, policy=policy.default) for data in contents if isinstance(data, bytes)]
        return [message for message in found if isinstance(message, EmailMessage)]

    async def handle_RCPT(  # noqa: N802  # aiosmtpd names it so
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, or refuse it."""
        if self.refusal is not None:
            return self.refusal
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  # aiosmtpd names it so
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Keep a message."""
        self.envelopes.append(envelope)
        return "250 OK"


class _Controller(Controller):
    """A controller that knows which port it was given."""

    def _trigger_server(self) -> None:
        # aiosmtpd connects to its server to know that it runs: at the port that was asked for, 0.
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # aiosmtpd's


@contextmanager
def mail_server(
    mailbox: Mailbox | None = None,
    *,
    login: tuple[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    starttls: ssl.SSLContext | None = None,
) -> Iterator[Mailbox]:
    """A server while the block runs. It may insist on a login, and on encryption: from the start, or by STARTTLS."""
    mailbox = mailbox or Mailbox()

    def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: Any) -> AuthResult:
        known = isinstance(given, LoginPassword) and (given.login.decode(), given.password.decode()) == login
        return AuthResult(success=known, handled=known)  # not handled: the server answers for it

    options: dict[str, Any] = {"enable_SMTPUTF8": True}
    if login is not None:
        options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": starttls is not None}
    if starttls is not None:
        options |= {"tls_context": starttls, "require_starttls": True}
    options["ready_timeout"] = 120  # it is five seconds otherwise
    server = _Controller(
        mailbox, hostname="127.0.0.1", port=0, loop=asyncio.new_event_loop(), ssl_context=tls, **options
    )
    server.start()
    mailbox.port = server.port
    try:
        yield mailbox
    finally:
        server.stop()
