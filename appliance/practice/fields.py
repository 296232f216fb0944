"""What staff type, made into values the contracts take; Invalid(code, field=…) where it cannot be. Pure.

Names keep their spelling: only control characters and superfluous blanks go, and letters with accents are composed
(Unicode NFC), so that the same name typed on two systems is the same name.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Mapping
from typing import get_args

from appliance.contracts.records import Person
from appliance.contracts.values import MIN_PASSWORD_CHARACTERS, DocumentKind
from appliance.core.errors import Invalid, NotFound
from appliance.practice.texts import PRACTICE_ZONE, local_time

KINDS: tuple[str, ...] = get_args(DocumentKind)
MAX_NAME_CHARACTERS = 120
MAX_NUMBER_CHARACTERS = 40
MAX_TITLE_CHARACTERS = 200
MAX_FILE_NAME_CHARACTERS = 255
MAX_PASSWORD_CHARACTERS = 1024
MAX_POSITION_DIGITS = 16
MAX_CODE_CHARACTERS = 64
EARLIEST_BIRTH_YEAR = 1880
VALID_DAYS = (1, 3, 7, 14, 30, 90)
BLANKS = frozenset({"Cc", "Zs", "Zl", "Zp"})
JOINERS = "\u200c\u200d"

Form = Mapping[str, str]

_ID = re.compile(r"[0-9a-f]{32}\Z")
#: Windows keeps these for devices, with any ending (Microsoft, "Naming Files, Paths, and Namespaces").
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])\s*([.:]|\Z)", re.IGNORECASE)
_PIN = re.compile(r"[0-9]{6,8}\Z")
_TELEPHONE = re.compile(r"[0-9+()/ .\-]{3,40}\Z")
_ISO_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})\Z")
_DAY_FIRST = re.compile(r"(\d{1,2})[./\- ]+(\d{1,2})[./\- ]+(\d{4})\Z")
_DIGITS_ONLY = re.compile(r"(\d{2})(\d{2})(\d{4})\Z")


def clean(text: str) -> str:
    """Take out control characters and superfluous blanks; compose letters."""
    letters = []
    for letter in unicodedata.normalize("NFC", text):
        category = unicodedata.category(letter)
        if category == "Cs":  # half a character: the text was not UTF-8
            raise Invalid("characters")
        if category == "Cf" and letter not in JOINERS:  # invisible, and able to turn the reading direction
            continue
        letters.append(" " if category in BLANKS else letter)
    return " ".join("".join(letters).split())


def identifier(text: str, code: str) -> str:
    """Give an identifier; NotFound(code) if it cannot be one."""
    if not _ID.match(text):
        raise NotFound(code)
    return text


def name(form: Mapping[str, str], field: str) -> str:
    """Give a name (a person's, the practice's, a device's): 1 to 120 characters."""
    text = clean(form.get(field, ""))
    if not text:
        raise Invalid("field_empty", field=field)
    if len(text) > MAX_NAME_CHARACTERS:
        raise Invalid("field_long", field=field, limit=MAX_NAME_CHARACTERS)
    return text


def unlock_pin(form: Mapping[str, str]) -> str:
    """Give a PIN of 6 to 8 digits, however it is grouped."""
    digits = "".join(form.get("pin", "").split())
    if not _PIN.match(digits):
        raise Invalid("pin_form", field="pin")
    return digits


def new_unlock_pin(form: Mapping[str, str]) -> str:
    """Give a PIN that was typed twice and is not one of those that everybody tries first."""
    digits = unlock_pin(form)
    if len(set(digits)) < 3 or digits in "01234567890" or digits in "09876543210":
        raise Invalid("pin_easy", field="pin")
    if "".join(form.get("pin_again", "").split()) != digits:
        raise Invalid("pin_repeat", field="pin_again")
    return digits


def telephone(form: Mapping[str, str]) -> str:
    """Give the telephone number patients may call: digits and what is usual between them."""
    text = clean(form.get("telephone", ""))
    if not _TELEPHONE.match(text) or sum(letter.isdigit() for letter in text) < 3:
        raise Invalid("telephone", field="telephone")
    return text


def parse_date(text: str) -> datetime.date | None:
    """Read 5.3.1962, 05.03.1962, 5/3/1962, 05031962 (day first) or 1962-03-05; None for anything else."""
    text = clean(text)
    if found := _ISO_DATE.match(text):
        year, month, day = found.groups()
    elif found := _DAY_FIRST.match(text) or _DIGITS_ONLY.match(text):
        day, month, year = found.groups()
    else:
        return None
    try:
        return datetime.date(int(year), int(month), int(day))
    except ValueError:
        return None


def birth_date(form: Mapping[str, str], today: datetime.date) -> str:
    """Give the date of birth as YYYY-MM-DD."""
    date = parse_date(form.get("birth_date", ""))
    if date is None or date > today or date.year < EARLIEST_BIRTH_YEAR:
        raise Invalid("birth_date", field="birth_date")
    return date.isoformat()


def person(form: Mapping[str, str], today: datetime.date) -> Person:
    """Give a patient's data."""
    number = clean(form.get("number", ""))
    if len(number) > MAX_NUMBER_CHARACTERS:
        raise Invalid("field_long", field="number", limit=MAX_NUMBER_CHARACTERS)
    return Person(
        family_name=name(form, "family_name"),
        given_name=name(form, "given_name"),
        birth_date=birth_date(form, today),
        number=number,
    )


def search(form: Mapping[str, str], today: datetime.date) -> tuple[str, str | None]:
    """Give name and birth date to search for; a date typed into the name's field counts as one."""
    words, date = [], None
    for word in clean(form.get("text", "")).split():
        found = parse_date(word)
        if found is None:
            words.append(word)
        else:
            date = found.isoformat()
    if clean(form.get("birth_date", "")):
        date = birth_date(form, today)
    return " ".join(words)[:MAX_NAME_CHARACTERS], date


def search_text(form: Mapping[str, str]) -> str:
    """Give the words to search documents for."""
    return clean(form.get("text", ""))[:MAX_NAME_CHARACTERS]


def position(form: Mapping[str, str], field: str) -> int | None:
    """Give where a page of a list begins; None if it is not named or no number."""
    sent = form.get(field, "")
    return int(sent) if sent.isascii() and sent.isdigit() and len(sent) < MAX_POSITION_DIGITS else None


def password(form: Mapping[str, str], field: str = "password") -> str:
    """Give a password as it was typed, to be compared with the stored one."""
    text = unicodedata.normalize("NFC", form.get(field, ""))
    if not text:
        raise Invalid("field_empty", field=field)
    if len(text) > MAX_PASSWORD_CHARACTERS:
        raise Invalid("field_long", field=field, limit=MAX_PASSWORD_CHARACTERS)
    return text


def new_password(form: Mapping[str, str]) -> str:
    """Give a new password that was typed twice alike."""
    text = password(form)
    if len(text) < MIN_PASSWORD_CHARACTERS:
        raise Invalid("password_short", field="password")
    if text != unicodedata.normalize("NFC", form.get("password_again", "")):
        raise Invalid("password_repeat", field="password_again")
    return text


def code(form: Mapping[str, str]) -> str:
    """Give a claim or invitation code, as typed."""
    text = clean(form.get("code", ""))
    if not text or len(text) > MAX_CODE_CHARACTERS:
        raise Invalid("field_empty" if not text else "field_long", field="code", limit=MAX_CODE_CHARACTERS)
    return text


def kind(text: str) -> DocumentKind:
    """Give a kind of document."""
    for known in get_args(DocumentKind):
        if text == known:
            result: DocumentKind = known
            return result
    raise Invalid("kind", field="kind")


def file_name(text: str) -> str:
    """Give a file's name without folders, at most 255 characters with its ending kept; "" if nothing is left.

    A name that is a device's on some computer gets a "_" before it; dots at the end, which some drop, go.
    """
    base = clean(re.split(r"[/\\]", text)[-1]).rstrip(". ")
    if _DEVICE.match(base):
        base = f"_{base}"
    if len(base) <= MAX_FILE_NAME_CHARACTERS:
        return base
    stem, dot, ending = base.rpartition(".")
    if not dot or len(ending) > 8:
        return base[:MAX_FILE_NAME_CHARACTERS]
    return stem[: MAX_FILE_NAME_CHARACTERS - len(ending) - 1] + dot + ending


def title(text: str, its_file_name: str) -> str:
    """Give a document's title; without one, the file's name without its ending."""
    text = clean(text)
    if len(text) > MAX_TITLE_CHARACTERS:
        raise Invalid("field_long", field="title", limit=MAX_TITLE_CHARACTERS)
    return text or (its_file_name.rpartition(".")[0] or its_file_name)[:MAX_TITLE_CHARACTERS]


def valid_days(text: str) -> int:
    """Give for how many days a share is open."""
    if not text.isdecimal() or len(text) > 3 or not 1 <= int(text) <= 90:
        raise Invalid("valid_days", field="valid_days")
    return int(text)


def past_moment(form: Mapping[str, str], field: str, now: float) -> int:
    """Give a time of the practice's clock, as browsers send it, in unix seconds; none that is still to come."""
    try:
        typed = datetime.datetime.strptime(form.get(field, "")[:16], "%Y-%m-%dT%H:%M")  # noqa: DTZ007 (a wall clock's)
        moment = int(typed.replace(tzinfo=PRACTICE_ZONE).timestamp())
    except (ValueError, OverflowError) as error:
        raise Invalid("moment", field=field) from error
    if not 0 <= moment <= now:
        raise Invalid("moment", field=field)
    return moment


def typed_moment(unix_s: float) -> str:
    """Give a time as such a field takes it."""
    return f"{local_time(unix_s):%Y-%m-%dT%H:%M}"


def local_path(text: str) -> str:
    """Give a path of this site that a reader may be sent back to; "/" for anything else (no open redirect)."""
    return text if re.match(r"/(?!/)[a-z0-9/_-]{0,120}\Z", text) else "/"
