"""Twilio: the Console's message log, and BulkExport."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

from tests.shapes.talks import (
    OTHERS,
    OURS,
    Row,
    Said,
    each,
    iso,
    millis,
    row,
    seconds,
)


def write(folder: Path, *, bulk: bool) -> list[Row]:
    """The Console's log, newest first, or BulkExport's days."""
    rows, records = [], []
    for _, spoken, number, message, exported in each():
        ours = OURS if spoken.ours else OTHERS
        came_in = message.who == "customer"
        sid = f"SM{number:032x}"
        sent = iso(message.time) if bulk else iso(message.time)[:-5] + "Z"
        direction = {"customer": "inbound", "bot": "outbound-reply", "agent": "outbound-api"}[message.who]
        record = {
            "From": spoken.phone if came_in else ours,
            "To": ours if came_in else spoken.phone,
            "Body": message.text or "",
            "Status": "received" if came_in else "undelivered",
            "SentDate": sent,
            "Sid": sid,
            "Direction": direction,
        }
        records.append(record)
        if exported:
            told = (millis if bulk else seconds)(message)
            rows.append(
                row(
                    Said(told.who, told.time, told.text),
                    message_id=sid,
                    conversation_id=spoken.phone,
                    contact_phone=spoken.phone,
                    status=record["Status"],
                )
            )
    records.sort(key=lambda record: (record["SentDate"], record["Sid"]), reverse=True)
    if not bulk:
        with (folder / "sms-log.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*records[0], "ApiVersion", "Price"])
            writer.writeheader()
            writer.writerows(record | {"ApiVersion": "2010-04-01", "Price": "-0.00790"} for record in records)
        return rows
    names = {"Body": "body", "Status": "status", "SentDate": "date_sent", "Sid": "sid", "Direction": "direction"}
    for day in {record["SentDate"][:10] for record in records}:
        with gzip.open(folder / f"bulk-{day}.json.gz", "wt", encoding="utf-8") as file:
            for record in records:
                if record["SentDate"].startswith(day):
                    line: dict[str, Any] = {names.get(name, name.lower()): value for name, value in record.items()}
                    file.write(json.dumps(line | {"num_media": 0, "price": -0.0079, "flags": ["smsg"]}) + "\n")
    return rows
