"""Chatwoot's database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.shapes.talks import (
    ACCOUNT,
    AGENT,
    BOT,
    TALKS,
    Row,
    account,
    each,
    row,
    speaker,
)

CHATWOOT = """
CREATE TABLE inboxes (id serial PRIMARY KEY, name varchar NOT NULL, account_id int NOT NULL);
CREATE TABLE contacts (id serial PRIMARY KEY, name varchar DEFAULT '', email varchar, phone_number varchar);
CREATE TABLE users (id serial PRIMARY KEY, name varchar NOT NULL, display_name varchar, email varchar);
CREATE TABLE agent_bots (id bigserial PRIMARY KEY, name varchar);
CREATE TABLE conversations (id serial PRIMARY KEY, inbox_id int NOT NULL, contact_id bigint, display_id int,
    created_at timestamp NOT NULL);
CREATE TABLE messages (id serial PRIMARY KEY, content text, inbox_id int NOT NULL, conversation_id int NOT NULL,
    message_type int NOT NULL, created_at timestamp NOT NULL, private boolean DEFAULT false NOT NULL,
    status int DEFAULT 0, content_attributes json DEFAULT '{}', sender_type varchar, sender_id bigint);
CREATE TABLE attachments (id serial PRIMARY KEY, external_url varchar, message_id int NOT NULL);
"""


def write(execute: Callable[[str, list[Any]], object]) -> list[Row]:
    """Tables of Chatwoot's database, filled through `execute`: a statement with %s, and its values."""
    rows = []
    execute(CHATWOOT, [])
    execute("INSERT INTO inboxes VALUES (1, 'SMS', 1), (2, 'WhatsApp', 1)", [])
    execute("INSERT INTO users VALUES (1, %s, 'robin', %s)", [AGENT, ACCOUNT])
    execute("INSERT INTO agent_bots VALUES (1, %s)", [BOT])
    for at, spoken in enumerate(TALKS, 1):
        execute("INSERT INTO contacts VALUES (%s, %s, 'c@example.net', %s)", [at, spoken.contact, spoken.phone])
        began = spoken.began.replace(tzinfo=None)
        execute("INSERT INTO conversations VALUES (%s, %s, %s, %s, %s)", [at, 2 if spoken.ours else 1, at, at, began])
    insert = (
        "INSERT INTO messages (id, content, inbox_id, conversation_id, message_type, created_at, private, status, "
        "sender_type, sender_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    )
    for at, spoken, number, message, exported in each():
        kind = {"customer": 0, "agent": 1, "bot": 3}[message.who]
        sender = {"customer": ("Contact", at), "agent": ("User", 1), "bot": ("AgentBot", 1)}[message.who]
        inbox, moment = 2 if spoken.ours else 1, message.time.replace(tzinfo=None)
        execute(insert, [number, message.text, inbox, at, kind, moment, False, number % 4, *sender])
        execute(insert, [100 + number, "was resolved", inbox, at, 2, moment, False, None, None, None])
        execute(insert, [200 + number, "between us", inbox, at, 1, moment, True, 0, "User", 1])
        for url in message.media:
            execute("INSERT INTO attachments (external_url, message_id) VALUES (%s, %s)", [url, number])
        if exported:
            rows.append(
                row(
                    message,
                    message_id=f"{number}",
                    conversation_id=f"{at}",
                    contact_name=spoken.contact,
                    contact_phone=spoken.phone,
                    speaker_name=speaker(spoken, message),
                    status=("sent", "delivered", "read", "failed")[number % 4],
                    sender_account=account(message, ACCOUNT),
                )
            )
    return rows
