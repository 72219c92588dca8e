"""LivePerson's Messaging Interactions API: pages of conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.shapes.talks import ACCOUNT, AGENT, BOT, TALKS, Row, Said, account, millis, row, speaker, write_json

__all__ = ["write"]


def write(folder: Path) -> list[Row]:
    """Two pages that share a conversation, each of whose files is a message of its own."""
    rows, records = [], []
    for at, spoken in enumerate(TALKS, 1):
        conversation = f"e5c58e49-e4a5-40a8-8a18-{at:012}"
        first, _, last = spoken.contact.partition(" ")
        messages: list[dict[str, Any]] = []
        statuses: list[dict[str, Any]] = []
        for message in spoken.said:
            sent = int(message.time.timestamp() * 1000)
            data: list[tuple[dict[str, Any], Said]] = [
                ({"file": {"relativePath": url, "fileType": "JPG"}}, Said(message.who, message.time, None, (url,)))
                for url in message.media
            ]
            if message.text is not None:
                data.append(({"msg": {"text": message.text}}, Said(message.who, message.time, message.text)))
            if message.who == "bot":
                card = {"type": "vertical", "elements": [{"type": "text", "text": 'A "lamp"\n'}, {"title": "Buy ✓"}]}
                data.append(
                    ({"richContent": {"content": json.dumps(card)}}, Said("bot", message.time, 'A "lamp"\n\nBuy ✓'))
                )
            for content, part in data:
                identifier = f"ms::dialog:{conversation}::msg:{len(messages)}"
                messages.append(
                    {
                        "type": "TEXT_PLAIN" if "msg" in content else "HOSTED_FILE",
                        "messageData": content,
                        "messageId": identifier,
                        "seq": len(messages),
                        "dialogId": conversation,
                        "participantId": {"customer": "f92c9890", "agent": "7", "bot": "8"}[message.who],
                        "time": f"{message.time:%Y-%m-%d %H:%M:%S}.000+0000",
                        "timeL": sent,
                        "sentBy": "Consumer" if message.who == "customer" else "Agent",
                        "audience": "ALL",
                    }
                )
                said = ["SENT", "READ", "ACCEPT"] if message.who == "agent" else ["SENT"]
                statuses += [
                    {"messageId": identifier, "timeL": sent + 5, "messageDeliveryStatus": status} for status in said
                ]
                if spoken.ours and message.exported:
                    rows.append(
                        row(
                            millis(part),
                            message_id=identifier,
                            conversation_id=conversation,
                            contact_name=spoken.contact,
                            contact_phone=spoken.phone if at % 2 else "",
                            speaker_name=speaker(spoken, message),
                            status="READ" if message.who == "agent" else "SENT",
                            sender_account=account(message, ACCOUNT),
                        )
                    )
            private = {"messageData": {"msg": {"text": "not for them"}}, "audience": "AGENTS_AND_MANAGERS"}
            messages.append(messages[-1] | private | {"messageId": f"{conversation}-{len(messages)}"})
        agents = [
            {"agentId": "7", "agentFullName": AGENT, "agentNickname": "Robin", "agentLoginName": ACCOUNT},
            {"agentId": "8", "agentFullName": BOT, "agentLoginName": "bot@x", "userType": "2", "userTypeName": "Bot"},
        ]
        consumer = {"firstName": first, "lastName": last or None, "phone": spoken.phone if at % 2 else ""}
        records.append(
            {
                "info": {
                    "conversationId": conversation,
                    "startTimeL": int(spoken.began.timestamp() * 1000),
                    "endTimeL": -1,
                    "source": "WHATSAPP" if spoken.ours else "APP",
                    "isPartial": False,
                },
                "messageRecords": messages,
                "messageStatuses": statuses,
                "agentParticipants": [{"userTypeName": "Human", **agent} for agent in agents],
                "consumerParticipants": [consumer | {"participantId": "f92c9890", "joinTimeL": 1}],
                "transfers": [],
            }
        )
    for page, some in enumerate((records[:2], records[1:]), 1):
        write_json(folder / "pages" / f"{page}.json", {"_metadata": {"count": 4}, "conversationHistoryRecords": some})
    return rows
