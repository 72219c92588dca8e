"""A database of conversations that takes connections and says nothing, as one that is frozen."""

from __future__ import annotations

import socket

import pytest
import sqlalchemy as sa

from export_engine.jobs.backends import sql
from export_engine.jobs.backends.sql import open_sql
from export_engine.jobs.failures import is_transient


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("said", ["", "?connect_timeout=2"])
def test_it_is_given_up(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """After a while that the URL may say: a service would hang as it begins, and say nothing."""
    if not said:
        monkeypatch.setitem(sql._IN_TOUCH, "connect_timeout", 2)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(sa.exc.OperationalError) as caught,
    ):
        open_sql(f"postgresql://reader@127.0.0.1:{listener.getsockname()[1]}/chats{said}")
    assert is_transient(caught.value)
