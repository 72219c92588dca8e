"""Channels and conversations in memory: the smallest parts that a worker can do with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import tzinfo

from export_engine.jobs.ports import WorkspaceChannel
from export_engine.model import Conversation, DateRange


@dataclass
class MemoryDirectory:
    """A `ChannelDirectory` over a list."""

    channels: list[WorkspaceChannel] = field(default_factory=list)

    def find(
        self, workspace_id: str, *, channel_id: str | None = None, phone_number: str | None = None
    ) -> list[WorkspaceChannel]:
        """Those that a workspace has with an id or a number."""
        asked = [channel for channel in self.channels if channel.workspace_id == workspace_id]
        return [
            c
            for c in asked
            if (channel_id is None or c.id == channel_id) and (phone_number is None or c.phone_number == phone_number)
        ]


@dataclass
class MemoryConversations:
    """A `ConversationSource` that makes conversations anew each time it is asked."""

    make: Callable[[], Iterable[Conversation]]
    asked: list[tuple[str, DateRange]] = field(default_factory=list)

    def conversations(self, channel: WorkspaceChannel, days: DateRange, _zone: tzinfo) -> Iterable[Conversation]:
        """The same for every channel."""
        self.asked.append((channel.id, days))
        return self.make()
