"""CSVs in the export's form, of words that no benchmark and no test has: what the kernel's tables are trained on."""

from __future__ import annotations

import base64
import gettext
import importlib.util
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from uuid import UUID

import numpy as np
from faker import Faker

__all__ = ["Language", "conversation", "languages"]

#: Django's languages, and Faker's names for each.
LANGUAGES = {
    "ar": "ar_AA", "bg": "bg_BG", "bn": "bn_BD", "ca": "es_CA", "cs": "cs_CZ", "da": "da_DK", "de": "de_DE",
    "el": "el_GR", "es": "es_MX", "et": "et_EE", "fa": "fa_IR", "fi": "fi_FI", "fr": "fr_FR", "he": "he_IL",
    "hi": "hi_IN", "hr": "hr_HR", "hu": "hu_HU", "id": "id_ID", "it": "it_IT", "ja": "ja_JP", "ko": "ko_KR",
    "lt": "lt_LT", "lv": "lv_LV", "mr": "hi_IN", "nb": "no_NO", "nl": "nl_NL", "pl": "pl_PL", "pt_BR": "pt_BR",
    "ro": "ro_RO", "ru": "ru_RU", "sk": "sk_SK", "sl": "sl_SI", "sv": "sv_SE", "ta": "ta_IN", "te": "hi_IN",
    "th": "th_TH", "tr": "tr_TR", "uk": "uk_UA", "ur": "fa_IR", "vi": "vi_VN", "zh_Hans": "zh_CN",
    "zh_Hant": "zh_TW",
}  # fmt: skip
#: How often a conversation is in English, in one other language, or in several.
KINDS = (0.4, 0.4, 0.2)
_HOLE = re.compile(r"%\([a-z_]+\)[a-z]|%[a-z]|\{[^}]*\}|<[^>]+>")


@dataclass(frozen=True, slots=True)
class Language:
    """Sentences and people of one language."""

    sentences: list[str]
    names: list[str]


def languages(rng: random.Random) -> list[Language]:
    """English first, then the others."""
    spec = importlib.util.find_spec("django")
    assert spec is not None, "see this module's docstring"
    assert spec.origin is not None
    found: dict[str, list[str]] = {code: [] for code in ("en", *LANGUAGES)}
    for file in sorted(Path(spec.origin).parent.rglob("LC_MESSAGES/*.mo")):
        code = file.parts[-3]
        if code not in LANGUAGES:
            continue
        with file.open("rb") as given:
            catalog = gettext.GNUTranslations(given)._catalog  # type: ignore[attr-defined]  # noqa: SLF001  # no other way
        for key, text in catalog.items():
            found[code].append(text)
            if code == "fr":
                found["en"].append(key if isinstance(key, str) else key[0])
    for topic in topics.values():
        prose = re.sub(r"\s+", " ", re.sub(r"[*`=\-^~\"]{2,}|[*`_]", "", topic))
        found["en"] += [said for said in re.split(r"(?<=[.?!:]) ", prose) if 12 < len(said) < 160]
    made: list[Language] = []
    for code, texts in found.items():
        fake = Faker(LANGUAGES.get(code, "en_US"))
        fake.seed_instance(len(made))
        numbers = iter(lambda: str(rng.randrange(10 ** rng.randrange(1, 7))), None)
        sentences = sorted({_HOLE.sub(next(numbers), text).split("\x04")[-1].strip() for text in texts})
        made.append(Language([text for text in sentences if text], [fake.name() for _ in range(200)]))
    return made


def _id_maker(rng: random.Random) -> Callable[[], str]:
    """Ids of one of the kinds in use."""
    prefix = rng.choice(("msg_", "SM", "wamid.", "m-", "IM", ""))
    start = rng.randrange(10 ** rng.randrange(3, 15))
    kinds: tuple[tuple[float, Callable[[], str]], ...] = (
        (0.55, lambda: str(UUID(int=rng.getrandbits(128), version=4))),
        (0.15, lambda: f"{prefix}{rng.getrandbits(128):032x}"),
        (0.15, lambda: prefix + base64.urlsafe_b64encode(rng.randbytes(18)).decode()),
        (0.15, lambda: f"{prefix}{start + rng.randrange(5000)}"),
    )
    chosen: Callable[[], str] = rng.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])[0]
    return chosen


def conversation(rng: random.Random, spoken: Sequence[Language]) -> bytes:
    """One conversation's rows as the export writes them."""
    kind = rng.choices(range(3), KINDS)[0]
    one = spoken[0] if kind == 0 else rng.choice(spoken)
    message_id, talk = _id_maker(rng), _id_maker(rng)()
    name, agent = rng.choice(one.names), rng.choice(rng.choice(spoken).names)
    phone = f"+{rng.randrange(1, 999)}{rng.randrange(10**6, 10**9)}"
    at = rng.randrange(1_500_000_000, 1_900_000_000) * 10**6
    statuses = rng.sample(["read", "delivered", "sent", "failed", "received", "queued", "undelivered"], 3)
    coarse = rng.choice((1, 1, 1, 10**3, 10**6))
    rows = []
    for _ in range(rng.choice((1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8, 10))):
        language = one if kind < 2 else rng.choice((spoken[0], rng.choice(spoken)))
        text = " ".join(rng.choices(language.sentences, k=rng.choice((1, 1, 1, 2, 3))))[: rng.choice((40, 120, 300))]
        if rng.random() < 0.04:
            text += rng.choice((" 🙂", " 👍", "!!", " 😂", "…", "\n\n"))
        speaker = rng.choice(("customer", "bot", "agent", "customer"))
        at += rng.randrange(1, 10 ** rng.randrange(7, 11))
        when = np.datetime64(at // coarse * coarse, "us")
        rows.append(
            [
                message_id(),
                talk,
                name,
                phone,
                "inbound" if speaker == "customer" else "outbound",
                speaker,
                {"customer": name, "bot": "Assistant", "agent": agent}[speaker],
                f"{when}Z",
                text,
                f"https://files.example.org/{message_id()}.png" if rng.random() < 0.03 else None,
                rng.choice(statuses[:2] * 3 + statuses),
                f"{agent.split()[-1].lower()}@example.org" if speaker == "agent" else None,
            ]
        )
    said = ["" if cell is None else '"' + cell.replace('"', '""') + '"' for row in rows for cell in row]
    return "".join(",".join(said[at : at + 12]) + "\r\n" for at in range(0, len(said), 12)).encode()
