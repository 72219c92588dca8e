"""Which channel a request means.

A phone number may belong to several channels. A request tells them apart by coarse type, channels have a detailed one;
`COARSE_TYPES` leads from one to the other. A service with other types passes its own table to
`export_engine.jobs.trigger`: `types={**COARSE_TYPES, "VIBER_BUSINESS": "sms"}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from export_engine.jobs.errors import AmbiguousChannelError, NotFoundError
from export_engine.jobs.identifiers import stored_uuid
from export_engine.jobs.phones import same_number
from export_engine.jobs.ports import ChannelDirectory, WorkspaceChannel
from export_engine.jobs.request import ExportRequest

__all__ = ["COARSE_TYPES", "find_channel", "resolve_channel"]

#: The coarse type of each detailed one. `LOCAL` and `WHATSAPP_BUSINESS_PLATFORM` are from the API's page; the others
#: are the kinds of number that carriers tell apart, and the names its coarse types suggest.
COARSE_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "LOCAL": "sms",
        "MOBILE": "sms",
        "TOLL_FREE": "sms",
        "SHORT_CODE": "sms",
        "SMS": "sms",
        "WHATSAPP": "whatsapp",
        "WHATSAPP_BUSINESS_PLATFORM": "whatsapp",
        "MESSENGER": "messenger",
        "FACEBOOK_MESSENGER": "messenger",
        "INSTAGRAM": "instagram",
        "LINE": "line",
    }
)


def find_channel(
    directory: ChannelDirectory,
    workspace_id: str,
    request: ExportRequest,
    *,
    types: Mapping[str, str] = COARSE_TYPES,
) -> WorkspaceChannel:
    """Ask a directory for the workspace's channel that a request means; raises as `resolve_channel` does."""
    channels = directory.find(workspace_id, channel_id=request.channel_id, phone_number=request.phone_number)
    return resolve_channel(channels, request, types=types)


def resolve_channel(
    channels: Iterable[WorkspaceChannel], request: ExportRequest, *, types: Mapping[str, str] = COARSE_TYPES
) -> WorkspaceChannel:
    """The one channel of a workspace that a request means.

    `channels` may hold others: what counts is the request's `channel_id`, which is unambiguous on its own, whatever
    `channel_type` stands beside it; or its `phone_number`, however either side writes it, and its `channel_type` if it
    has one. A detailed type that
    `types` does not have is of no coarse type.

    Raises NotFoundError (404) if there is none, AmbiguousChannelError (409) if several share the phone number; its
    candidates are sorted by channel id.
    """
    type_ = request.channel_type if request.channel_id is None else None
    # By id, so that a channel that is listed twice is one.
    found = {
        stored_uuid(channel.id) or channel.id: channel
        for channel in channels
        if _is_named(channel, request) and (type_ is None or types.get(channel.type) == type_)
    }
    if not found:
        raise NotFoundError(f"No channel found for {_wanted(request)}.")
    if len(found) > 1:
        raise AmbiguousChannelError(
            [
                {"channel_id": channel_id, "channel_type": channel.type, "name": channel.name}
                for channel_id, channel in sorted(found.items())
            ]
        )
    return next(iter(found.values()))


def _is_named(channel: WorkspaceChannel, request: ExportRequest) -> bool:
    if request.channel_id is not None:
        return stored_uuid(channel.id) == request.channel_id
    if channel.phone_number is None or request.phone_number is None:
        return False
    return same_number(channel.phone_number, request.phone_number)


def _wanted(request: ExportRequest) -> str:
    if request.channel_id is not None:
        return f"channel_id {request.channel_id}"
    wanted = f"phone_number {request.phone_number}"
    return f"{wanted} and channel_type {request.channel_type}" if request.channel_type else wanted
