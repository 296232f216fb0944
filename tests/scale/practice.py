"""A practice of any size, made up: people, documents and what stands in them. The same every time. Pure.

Names and words are as unevenly common as real ones (Zipf): many Müllers, few Rasumowskis; "Befund" in thousands of
documents, some words in one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from appliance.contracts.records import Person


def _listed(words: str) -> list[str]:
    return words.split()


FAMILY_NAMES = _listed(
    "Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch Bauer Richter Klein Wolf "
    "Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann Hartmann Lange Schmitt Werner Krause Meier Lehmann "
    "Köhler Herrmann König Walter Mayer Huber Kaiser Fuchs Peters Lang Scholz Möller Weiß Jung Hahn Schubert Vogel "
    "Friedrich Keller Günther Yılmaz Öztürk Şahin Łukaszewicz Nguyễn Müller-Lüdenscheidt Großmann Weißenfels"
)
GIVEN_NAMES = _listed(
    "Anna Peter Maria Michael Ursula Thomas Monika Andreas Petra Wolfgang Elisabeth Klaus Sabine Jürgen Renate Günter "
    "Helga Stefan Karin Christian Brigitte Uwe Ingrid Werner Erika Horst Andrea Frank Gisela Dieter Claudia Manfred "
    "Jörg Käthe Zoë Björn Ayşe Mehmet Agnieszka Søren Élodie"
)
KINDS = ("finding", "lab", "letter", "invoice", "sick_note", "image")
TITLES = {
    "finding": "Befund",
    "lab": "Laborbericht",
    "letter": "Arztbrief",
    "invoice": "Rechnung",
    "sick_note": "Arbeitsunfähigkeit",
    "image": "Röntgenbild",
}
BODY = _listed(
    "Knie Hüfte Schulter Wirbelsäule Handgelenk Sprunggelenk Ellenbogen Thorax Abdomen Schädel Niere Leber"
)
KNOWN_WORDS = _listed(
    "und der die mit ohne Befund Patientin Patient unauffällig Meniskus Läsion Größe Flüssigkeit Röntgen Verdacht auf "
    "Kontrolle empfohlen Medikation Größenordnung regelrecht beidseits Arthrose Gefäße Straße Überweisung Kreuzband"
)
SYLLABLES = _listed("ba ber che del en fra gel hä in kar lon mü nar os pla que ril schä tum über vas wei xer zys")
FIRST_BIRTH_YEAR, BIRTH_YEARS = 1930, 90
#: Of the patients' numbers.
FIRST_NUMBER = 10_000
FIRST_DAY, DAYS = 1_600_000_000, 1900
#: One patient who has been coming for decades.
LONG_FILE_DOCUMENTS = 300
RARE = "Rasumowskit"


@dataclass(frozen=True)
class Size:
    """How large the practice is."""

    patients: int
    documents: int
    live_shares: int
    ended_shares: int
    #: How many of the documents hold text.
    with_text: float = 0.6


FULL = Size(patients=20_000, documents=100_000, live_shares=1_000, ended_shares=1_000)
SHORT = Size(patients=2_000, documents=10_000, live_shares=0, ended_shares=0, with_text=0.1)


@dataclass(frozen=True)
class Paper:
    """A document: whose it is (a patient's place), what it is called and what stands in it."""

    patient: int
    kind: str
    title: str
    name: str
    added_at: int
    text: str
    content: bytes


def people(count: int) -> Iterator[Person]:
    """Give `count` different people."""
    chance = random.Random("people")
    families = [*FAMILY_NAMES, *(_word(chance, 3).capitalize() for _ in range(count // 20))]
    for number in range(count):
        year, day = FIRST_BIRTH_YEAR + chance.randrange(BIRTH_YEARS), number % 28 + 1
        yield Person(
            family_name=_uneven(chance, families),
            given_name=f"{_uneven(chance, GIVEN_NAMES)} {chance.choice(GIVEN_NAMES)}",
            birth_date=f"{year}-{chance.randrange(12) + 1:02}-{day:02}",
            number=str(FIRST_NUMBER + number),
        )


def papers(size: Size) -> Iterator[Paper]:
    """Give the documents in the order they came; the first patient has many, the last none."""
    chance = random.Random("papers")
    words = [*KNOWN_WORDS, *{_word(chance, chance.randint(2, 5)) for _ in range(20_000)}]
    weights = list(itertools.accumulate(1 / (place + 3) for place in range(len(words))))
    for number in range(size.documents):
        long_file = number % max(1, size.documents // LONG_FILE_DOCUMENTS) == 0
        kind = chance.choice(KINDS)
        length = min(1500, int(chance.lognormvariate(4.7, 0.8))) if chance.random() < size.with_text else 0
        text = " ".join(chance.choices(words, cum_weights=weights, k=length))
        if number == size.documents // 2:
            text += f" {RARE}"
        title = f"{TITLES[kind]} {chance.choice(BODY)}"
        yield Paper(
            patient=0 if long_file else chance.randrange(size.patients - 1),
            kind=kind,
            title=title,
            name=f"{title.replace(' ', '_')}_{number:06}.pdf",
            added_at=FIRST_DAY + number * DAYS * 86400 // size.documents,
            text=text,
            content=b"%PDF-1.7\n" + chance.randbytes(200),
        )


def _word(chance: random.Random, syllables: int) -> str:
    return "".join(chance.choices(SYLLABLES, k=syllables))


def _uneven(chance: random.Random, choices: list[str]) -> str:
    """Choose with the first ones far more often than the last."""
    return choices[int(len(choices) * chance.random() ** 3)]
