"""The query string of QIDO-RS, and whether a data set matches it (PS3.18 8.3.4, PS3.4 C.2.2.2)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.multival import MultiValue

from triage.errors import TriageError

FUZZY: Final = "fuzzymatching"
CONTROLS: Final = frozenset((FUZZY, "limit", "offset", "includefield", "accept"))
MAX_KEYS: Final = 50
MAX_VALUE: Final = 1_024
MAX_NUMBER_DIGITS: Final = 9
ALL: Final = "all"
TIME: Final = "000000.000000"


class BadQuery(TriageError):
    """The query cannot be understood. The message names the parameter, never its value."""


@dataclass(frozen=True, slots=True)
class Key:
    """One attribute that has to match."""

    path: tuple[int, ...]
    """Its tag, after those of the sequences that it is in."""
    value: str

    @property
    def tag(self) -> int:
        """Give the outermost tag."""
        return self.path[0]


@dataclass(frozen=True, slots=True)
class Query:
    """One query, read."""

    keys: tuple[Key, ...] = ()
    fields: tuple[int, ...] = ()
    """Tags asked for beside the usual ones."""
    every_field: bool = False
    limit: int = 0
    offset: int = 0
    wants_fuzzy: bool = False

    @classmethod
    def read(cls, pairs: Sequence[tuple[str, str]], most: int) -> Self:
        """Read a query string; ``limit`` is at most ``most``.

        Raises:
            BadQuery: 400.
        """
        given = [(name, value) for name, value in pairs if name not in CONTROLS]
        fields = [
            one for name, text in pairs if name == "includefield" for one in text.split(",") if one
        ]
        if len(given) > MAX_KEYS or len(fields) > MAX_KEYS:
            msg = f"more than {MAX_KEYS} attributes"
            raise BadQuery(msg)
        return cls(
            keys=tuple(Key(_path(name), _short(name, value)) for name, value in given if value),
            fields=tuple(_path(one)[0] for one in fields if one != ALL),
            every_field=ALL in fields,
            limit=min(_number(pairs, "limit", most), most),
            offset=_number(pairs, "offset", 0),
            wants_fuzzy=any(n == FUZZY and v.lower() == "true" for n, v in pairs),
        )

    def of(self, tags: Iterable[int]) -> tuple[Key, ...]:
        """Give the keys on these tags."""
        wanted = set(tags)
        return tuple(key for key in self.keys if key.tag in wanted)

    def besides(self, tags: Iterable[int]) -> tuple[Key, ...]:
        """Give the keys on other tags."""
        known = set(tags)
        return tuple(key for key in self.keys if key.tag not in known)


def matches(dataset: Dataset, keys: Iterable[Key]) -> bool:
    """Tell whether every key matches."""
    return all(_matches(dataset, key.path, key.value) for key in keys)


def _matches(dataset: Dataset, path: tuple[int, ...], value: str) -> bool:
    element = dataset.get(path[0])
    if len(path) > 1:
        items = element.value if element is not None and element.VR == "SQ" else ()
        return any(_matches(item, path[1:], value) for item in items)
    if value == "*":
        return True
    found = None if element is None else element.value
    many = list(found) if isinstance(found, MultiValue | list | tuple) else [found]
    vr = str(element.VR) if element is not None else ""
    return any(_fits(str(one), value, vr) for one in many if one not in (None, ""))


def _fits(found: str, value: str, vr: str) -> bool:
    if vr == "UI":
        return found in re.split(r"[\\,]", value)
    if vr in {"DA", "TM", "DT"}:
        return _in_range(found, value, is_time=vr == "TM")
    if vr in {"IS", "DS", "US", "SS", "UL", "SL", "FL", "FD", "UV", "SV"}:
        return _same_number(found, value)
    found, value = found.rstrip("^ "), value.rstrip("^ ")
    return _is_like(found.casefold(), value.casefold()) if vr == "PN" else _is_like(found, value)


def _in_range(found: str, value: str, *, is_time: bool) -> bool:
    """Tell whether a date or time is the one, or in the range (PS3.4 C.2.2.2.5)."""
    found, value = (one.replace(":", "") if is_time else one for one in (found, value))
    first, dash, last = value.partition("-")
    if not dash:
        return found.startswith(value) if is_time else found == value
    low = first + TIME[len(first) :] if is_time else first
    high = last + "9" * (len(TIME) - len(last)) if is_time and last else last
    full = found + TIME[len(found) :] if is_time else found
    return (not first or full >= low) and (not last or full <= high)


def _same_number(found: str, value: str) -> bool:
    try:
        return float(found) == float(value)
    except ValueError:
        return False


def _is_like(found: str, value: str) -> bool:
    """Match "*" and "?" (PS3.4 C.2.2.2.4), in time that grows with the product of the lengths."""
    at, star, resume = 0, -1, 0
    position = 0
    while position < len(found):
        here = value[at : at + 1]
        if here == "*":
            star, resume = at, position
            at += 1
        elif here and here in {"?", found[position]}:
            at, position = at + 1, position + 1
        elif star >= 0:
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return not value[at:].strip("*")


def _path(name: str) -> tuple[int, ...]:
    tags = tuple(_tag(part) for part in name.split("."))
    if None in tags or any(_vr(tag) != "SQ" for tag in tags[:-1] if tag is not None):
        msg = "a parameter names no attribute of the dictionary"
        raise BadQuery(msg)
    return tuple(tag for tag in tags if tag is not None)


def _tag(text: str) -> int | None:
    if re.fullmatch(r"[0-9A-Fa-f]{8}", text):
        return int(text, 16)
    return tag_for_keyword(text)


def _vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def _short(name: str, value: str) -> str:
    if len(value) > MAX_VALUE or value.count("*") > MAX_KEYS:
        msg = f"{name}: too long"
        raise BadQuery(msg)
    return value


def _number(pairs: Sequence[tuple[str, str]], name: str, otherwise: int) -> int:
    text: Any = next((value for key, value in pairs if key == name), None)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdecimal()) or len(text) > MAX_NUMBER_DIGITS:
        msg = f"{name} is a whole number"
        raise BadQuery(msg)
    return int(text)
