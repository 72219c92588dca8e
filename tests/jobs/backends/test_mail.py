"""The e-mail, as a real server receives it."""

from __future__ import annotations

import smtplib
import socket
import ssl
import subprocess
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.headerregistry import Address
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_engine.errors import OptionError
from export_engine.jobs.backends.mail import SmtpMailer, mailer_from_url, notice_of
from export_engine.jobs.job import Job, Status
from tests.jobs.smtp import Mailbox, mail_server
from tests.ports import free_port

SENDER = "exports@example.com"
LINK = (
    "https://bucket.s3.amazonaws.com/79f13adf/1/SMS_Support_2026-06_1c4639da.zip"
    f"?X-Amz-Signature={'0123456789abcdef' * 4}&X-Amz-Expires=86400&name=a%20b"
)
FINISHED = Job(
    id="79f13adf-f7dc-4744-8ad9-a16b4913e52c",
    workspace_id="3fa85f64-5717-4562-b3fc-2c963f66afa6",
    channel_id="b2c3d4e5-7777-8888-9999-000011112222",
    start_date=date(2026, 6, 1),
    end_date=date(2026, 6, 10),
    created_time=datetime(2026, 6, 11, 6, 50, 43, 861185, UTC),
    notification_email="agent@example.com",
    status=Status.FINISHED,
    finished_time=datetime(2026, 6, 11, 6, 50, 47, 847864, UTC),
    archive="79f13adf-f7dc-4744-8ad9-a16b4913e52c/1/SMS_Support_2026-06_1c4639da.zip",
    file_name="SMS_Support_2026-06_1c4639da.zip",
)
FAILED = replace(
    FINISHED,
    status=Status.FAILED,
    archive=None,
    file_name=None,
    error_message='conversation "<b>c-1</b>" & others come back: sort the rows\r\nBcc: other@example.com',
)


class Links(HTMLParser):
    """The links and the text of an HTML document."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.links: list[str | None] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_data(self, data: str) -> None:
        """Note some text."""
        self.text += data


def received(job: Job, link: str | None) -> tuple[Mailbox, str, Links]:
    """A message that a server received, its text and its HTML."""
    with mail_server() as mailbox:
        SmtpMailer("127.0.0.1", mailbox.port, sender=SENDER).send(job, link=link)
    [message] = mailbox.messages
    plain, html = message.get_body(["plain"]), message.get_body(["html"])
    assert plain is not None
    assert html is not None
    return mailbox, plain.get_content(), Links(html.get_content())


def test_a_finished_export() -> None:
    """Link, file, range and expiry, in text and HTML alike; from and to whom it should."""
    mailbox, text, html = received(FINISHED, LINK)
    [message], [envelope] = mailbox.messages, mailbox.envelopes
    assert envelope.mail_from == SENDER
    assert envelope.rcpt_tos == ["agent@example.com"]
    assert (message["From"], message["To"]) == (SENDER, "agent@example.com")
    assert message["Subject"] == "Your conversation export is ready (2026-06-01 to 2026-06-10)"
    assert LINK in text.splitlines()
    assert html.links == [LINK]
    for part in (text, html.text):
        for fact in (LINK, "2026-06-01 to 2026-06-10", "2026-06-12 06:50 UTC", FINISHED.file_name, FINISHED.id):
            assert str(fact) in part


def test_a_failed_export() -> None:
    """It says so and why; there is no link; what stands in the reason stays text."""
    mailbox, text, html = received(FAILED, None)
    [message] = mailbox.messages
    assert message["Subject"] == "Your conversation export failed (2026-06-01 to 2026-06-10)"
    assert html.links == []
    assert "b" not in html.tags
    for part in (text, html.text):
        assert 'conversation "<b>c-1</b>" & others' in part
        assert "failed" in part
    assert message["Bcc"] is None
    assert mailbox.envelopes[0].rcpt_tos == ["agent@example.com"]


def test_the_same_message_again() -> None:
    """Its identity and date are the job's: a mail program can tell that it is the same."""
    first, second = (notice_of(FINISHED, LINK, sender=Address("", "exports", "example.com")) for _ in range(2))
    assert first["Message-ID"] == second["Message-ID"] == "<79f13adf-f7dc-4744-8ad9-a16b4913e52c@example.com>"
    assert first["Date"] == "Thu, 11 Jun 2026 06:50:47 +0000"
    assert first["Auto-Submitted"] == "auto-generated"


def test_an_international_address() -> None:
    """A server that takes it gets it."""
    mailbox, _, _ = received(replace(FINISHED, notification_email="ägent@example.com"), LINK)
    assert mailbox.envelopes[0].rcpt_tos == ["ägent@example.com"]
    assert mailbox.messages[0]["To"] == "ägent@example.com"


@pytest.mark.parametrize(
    "address",
    [
        "agent@example.com\r\nBcc: other@example.com",
        "agent@example.com, other@example.com",
        "agent@example.com,other",
        '"agent@example.com, x"@example.com',
        "Agent <agent@example.com>",
        "agent\0@example.com",
        "agent",
        "",
    ],
)
def test_an_address_that_is_more_than_one(address: str) -> None:
    """However it came into a job, nothing is sent."""
    with mail_server() as mailbox, pytest.raises(ValueError, match="not one plain e-mail address"):
        SmtpMailer("127.0.0.1", mailbox.port, sender=SENDER).send(
            replace(FINISHED, notification_email=address), link=LINK
        )
    assert mailbox.envelopes == []
    with pytest.raises(OptionError, match="sender"):
        SmtpMailer("127.0.0.1", 25, sender=address)


@settings(deadline=None)
@given(
    st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))
)
def test_no_text_makes_a_header(local: str, reason: str, file_name: str) -> None:
    """Whatever stands in a job, a message has its own headers and one recipient, or there is none."""
    sender = Address("", "exports", "example.com")
    plain = notice_of(FAILED, None, sender=sender)
    for job, link in (
        (replace(FAILED, error_message=reason, notification_email=f"{local}@example.com"), None),
        (replace(FINISHED, file_name=file_name, notification_email=f"{local}@example.com"), LINK),
    ):
        try:
            message = notice_of(job, link, sender=sender)
        except ValueError:
            continue
        assert message.keys() == plain.keys()
        assert len(message["To"].addresses) == 1


@pytest.mark.parametrize(
    ("job", "link"),
    [
        (replace(FINISHED, notification_email=None), LINK),
        (replace(FINISHED, status=Status.STARTED, finished_time=None), None),
        (FINISHED, None),
        (FAILED, LINK),
    ],
)
def test_a_job_that_cannot_be_told_of(job: Job, link: str | None) -> None:
    """No address, no end, or a link that does not fit: an error of the caller's."""
    with pytest.raises(ValueError, match="has no notice"):
        notice_of(job, link, sender=Address("", "exports", "example.com"))


def test_a_server_that_is_not_there() -> None:
    """An OSError."""
    with pytest.raises(OSError, match="refused"):
        SmtpMailer("127.0.0.1", free_port(), sender=SENDER).send(FINISHED, link=LINK)


def test_a_server_that_does_not_answer() -> None:
    """The timeout ends it, as an OSError."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OSError, match="timed out"):
        SmtpMailer("127.0.0.1", silent.getsockname()[1], sender=SENDER, timeout=0.2).send(FINISHED, link=LINK)


def test_a_server_that_refuses() -> None:
    """An OSError with the server's words."""
    with (
        mail_server(Mailbox(refusal="550 no such person")) as mailbox,
        pytest.raises(smtplib.SMTPRecipientsRefused, match="no such person"),
    ):
        SmtpMailer("127.0.0.1", mailbox.port, sender=SENDER).send(FINISHED, link=LINK)
    assert issubclass(smtplib.SMTPRecipientsRefused, OSError)


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # aiosmtpd's advice to servers that others can reach
def test_a_login() -> None:
    """User and password are given to the server; wrong ones are an OSError."""
    with mail_server(login=("mailer", "se:c@r/t")) as mailbox:
        mailer_from_url(f"smtp://mailer:se%3Ac%40r%2Ft@127.0.0.1:{mailbox.port}?from={SENDER}").send(
            FINISHED, link=LINK
        )
        assert len(mailbox.messages) == 1
        with pytest.raises(smtplib.SMTPAuthenticationError):
            mailer_from_url(f"smtp://mailer:wrong@127.0.0.1:{mailbox.port}?from={SENDER}").send(FINISHED, link=LINK)
        with pytest.raises(smtplib.SMTPException):
            mailer_from_url(f"smtp://127.0.0.1:{mailbox.port}?from={SENDER}").send(FINISHED, link=LINK)
        assert len(mailbox.messages) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its key in one file, signed by itself."""
    file = tmp_path_factory.mktemp("certificate") / "both.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(file), "-out", str(file.with_suffix(".crt"))]
    subprocess.run(["openssl", "req", *kind, *names, *files], check=True, capture_output=True)
    with file.open("ab") as both:
        both.write(file.with_suffix(".crt").read_bytes())
    return file


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    """A server's side of an encrypted connection."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made


def test_starttls(certificate: Path, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is encrypted before the login, under a certificate that is trusted."""
    with mail_server(starttls=context, login=("mailer", "secret")) as mailbox:
        mailer = mailer_from_url(f"smtp+starttls://mailer:secret@127.0.0.1:{mailbox.port}?from={SENDER}")
        with pytest.raises(ssl.SSLCertVerificationError):
            mailer.send(FINISHED, link=LINK)
        assert mailbox.messages == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
        mailer.send(FINISHED, link=LINK)
    assert len(mailbox.messages) == 1


def test_tls(certificate: Path, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, encrypted from the first byte."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    with mail_server(tls=context) as mailbox:
        mailer_from_url(f"smtps://127.0.0.1:{mailbox.port}?from={SENDER}").send(FINISHED, link=LINK)
    assert len(mailbox.messages) == 1


def test_a_server_without_encryption() -> None:
    """What asks for encryption does not go on without it."""
    with mail_server() as mailbox, pytest.raises(smtplib.SMTPNotSupportedError):
        mailer_from_url(f"smtp+starttls://127.0.0.1:{mailbox.port}?from={SENDER}").send(FINISHED, link=LINK)
    assert mailbox.messages == []


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"tls": "ssl"}, "tls"),
        ({"username": "mailer"}, "username"),
        ({"password": "secret", "tls": "tls"}, "username"),
        ({"username": "mailer", "password": "secret"}, "tls"),
        ({"sender": "nobody"}, "sender"),
    ],
)
def test_an_option_that_cannot_work(options: dict[str, str], option: str) -> None:
    """It is refused at once, by name."""
    with pytest.raises(OptionError) as caught:
        SmtpMailer("mail.example.com", 25, **({"sender": SENDER} | options))  # type: ignore[arg-type]  # wrong on purpose
    assert caught.value.option == option
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://mail.example.com?from=a@example.com",
        "mail.example.com:25",
        "smtp://mail.example.com",
        "smtp://mail.example.com?from=",
        "smtp://mail.example.com?from=a@example.com&from=b@example.com",
        "smtp://mail.example.com?from=a@example.com&tls=no",
        "smtp://mail.example.com/path?from=a@example.com",
        "smtp://mail.example.com:port?from=a@example.com",
        "smtp://mail.example.com:70000?from=a@example.com",
        "smtp://[mail?from=a@example.com",
        "smtp://?from=a@example.com",
        "smtp://u:secret@?from=a@example.com",
        "smtps://u:secret@mail.example.com?from=nobody",
        "",
    ],
)
def test_a_url_that_cannot_work(url: str) -> None:
    """It is refused with advice, and its password not repeated."""
    with pytest.raises(OptionError) as caught:
        mailer_from_url(url)
    assert "secret" not in str(caught.value)


def test_a_link_that_lives_for_24_hours_is_told_so() -> None:
    """The time of expiry is the job's, in UTC."""
    later = replace(FINISHED, finished_time=FINISHED.created_time + timedelta(days=3))
    body = notice_of(later, LINK, sender=Address("", "exports", "example.com")).get_body(["plain"])
    assert body is not None
    assert "2026-06-15 06:50 UTC" in body.get_content()
