"""The settings of a service, as one value."""

from __future__ import annotations

import pickle
from dataclasses import fields

from export_engine import ExportOptions
from export_engine.service.settings import Settings


def test_no_password_is_shown() -> None:
    """Settings go into logs and tracebacks: URLs and the secret are left out."""
    settings = Settings(
        database="postgresql://user:hunter2@host/jobs",
        conversations="postgresql://user:hunter2@host/chats",
        smtp="smtps://user:hunter2@host?from=exports@example.com",
        secret=b"hunter2" * 5,
    )
    assert "hunter2" not in repr(settings)


def test_all_is_left_to_the_folder() -> None:
    """What is not said is None; the export's options are the usual ones. It pickles."""
    settings = Settings()
    assert {field.name for field in fields(Settings) if getattr(settings, field.name) is not None} == {"options"}
    assert settings.options == ExportOptions()
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301  # our own
