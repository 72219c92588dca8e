"""What is whose business: files are their user's alone, logs have no addresses, metrics are not on the API's port."""

from __future__ import annotations

import json
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from export_engine.errors import OptionError
from export_engine.jobs.backends.archives import open_archives
from export_engine.service.components import open_components, secret_of
from export_engine.service.demo import write_demo
from export_engine.service.logs import JsonFormatter
from export_engine.service.settings import Settings
from tests.jobs.harness import open_harness
from tests.jobs.smtp import Mailbox, mail_server
from tests.jobs.test_notices import mailing
from tests.service.running import BY_CHANNEL, Service, serving

ADDRESS = "agent@example.com"


@pytest.fixture
def lax_umask() -> Iterator[None]:
    """Whatever is made is everybody's unless its maker sees to it."""
    before = os.umask(0)
    yield
    os.umask(before)


def shared(folder: Path) -> list[str]:
    """The files and folders in a folder that others than their user have to do with."""
    return [
        f"{path.relative_to(folder)} {stat.filemode(path.stat().st_mode)}"
        for path in sorted(folder.rglob("*"))
        if _is_shared(path)
    ]


def _is_shared(path: Path) -> bool:
    return stat.S_IMODE(path.stat().st_mode) != (0o700 if path.is_dir() else 0o600)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
@pytest.mark.usefixtures("lax_umask")
def test_files_and_folders_are_the_users_alone(tmp_path: Path) -> None:
    """Database with its log, archives, demo, secret; also where the umask leaves all bits, and nothing else helps."""
    with serving(tmp_path) as service:
        service.ended(service.trigger(BY_CHANNEL))
        names = {path.name for path in tmp_path.rglob("*")}
        assert names > {"jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm", "archives", "demo", "secret"}
        assert any(name.endswith(".zip") for name in names)
        assert shared(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
@pytest.mark.usefixtures("lax_umask")
def test_what_was_there_stays_as_it_is(tmp_path: Path) -> None:
    """An operator's own folders keep the modes that they were given."""
    for name in ("archives", "demo"):
        (tmp_path / name).mkdir(mode=0o750)
    open_archives(str(tmp_path / "archives"))
    write_demo(tmp_path / "demo")
    assert shared(tmp_path) == ["archives drwxr-x---", "demo drwxr-x---"]


def test_a_recipient_that_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The mail server says whom it refuses; the log says why, and whose job."""
    with open_harness(tmp_path) as harness, mail_server(Mailbox(refusal=f"550 no <{ADDRESS}> here")) as mailbox:
        job = harness.trigger(notification_email=ADDRESS, key_id="0123456789abcdef")
        worker = harness.worker(mailer=mailing(mailbox))
        worker.step()
        assert worker.step()
    [record] = [record for record in caplog.records if "could not be sent" in record.getMessage()]
    line = JsonFormatter().format(record)
    assert ADDRESS not in caplog.text
    assert ADDRESS not in line
    assert "SMTPRecipientsRefused" in line
    assert json.loads(line)["key"] == "0123456789abcdef"
    assert json.loads(line)["job"] == job.id


def test_metrics_and_pages_of_others_are_not_there(service: Service) -> None:
    """404 for whoever reaches the API: metrics are served elsewhere, the API's description is `/openapi.json`."""
    for path in ("/metrics", "/docs", "/redoc"):
        assert service.client.get(path).status_code == 404
    assert service.client.get("/openapi.json").status_code == 200


def test_any_bytes_are_a_secret(tmp_path: Path) -> None:
    """300 random ones of 32 bytes: blanks and line ends at either end are a part of it; one byte less is refused."""
    numbers = random.Random(0)  # noqa: S311  # the same secrets each time
    file = tmp_path / "given"
    settings = Settings(data=tmp_path, secret_file=file)
    for number in range(300):
        secret = numbers.randbytes(32)
        if number < 30:
            secret = b"\r\n" + secret[4:] + b" \n"
        file.write_bytes(secret)
        assert secret_of(settings) == secret
        file.write_bytes(secret[1:])
        with pytest.raises(OptionError, match="has 31 bytes") as caught:
            secret_of(settings)
        assert caught.value.option == "secret_file"


@pytest.mark.slow
def test_the_secret_given_signs_the_links(tmp_path: Path) -> None:
    """Byte for byte, blanks and all."""
    write_demo(tmp_path / "demo")
    (tmp_path / "given").write_bytes(secret := b"\r\n" + bytes(range(200, 228)) + b" \n")
    with open_components(Settings(data=tmp_path, secret_file=tmp_path / "given"), "http://localhost") as components:
        assert components.archives._secret == secret  # type: ignore[attr-defined]  # an ObjectArchives'
