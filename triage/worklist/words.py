"""Values as people read them: names, ages, dates, durations. Nothing here knows a table."""

from datetime import UTC, date, datetime, timedelta
from typing import Final

DAYS_A_YEAR: Final = 365.2425
DAYS_A_MONTH: Final = DAYS_A_YEAR / 12
ADULT_MONTHS: Final = 24
SEXES: Final = {"M": "male", "F": "female", "O": "other"}
MOST: Final = 120
DA: Final = 8
MISSING: Final = "\N{EN DASH}"
LONGEST_NAME: Final = 200
"""Characters of a person's name that are shown; a group of PN has 64 at most (PS3.5 6.2)."""

_TURNING: Final = dict.fromkeys(
    [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)


def person(name: str) -> str:
    """Give a person name (PS3.5 6.2, PN) as "FAMILY, Given Middle"."""
    alphabetic = next((group for group in name.split("=") if group.strip("^ ")), "")
    family, _, rest = alphabetic.partition("^")
    given = " ".join(part.strip() for part in rest.split("^")[:2] if part.strip())
    name = ", ".join(part for part in (family.strip(), given) if part) or MISSING
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}\N{HORIZONTAL ELLIPSIS}"


def day(text: str) -> str:
    """Give a DA value as an ISO date; as it came when it is none."""
    found = _date(text)
    return found.isoformat() if found else text


def clock(text: str) -> str:
    """Give a TM value as hours and minutes; nothing when it is none."""
    return f"{text[:2]}:{text[2:4]}" if text[:4].isdigit() and len(text) >= 4 else ""


def age(birth_date: str, study_date: str) -> str:
    """Give the age at the study: "64 y", "8 mo", "12 d"; nothing when it cannot be told."""
    born, studied = _date(birth_date), _date(study_date)
    if born is None or studied is None or studied < born:
        return ""
    days = (studied - born).days
    months = int(days / DAYS_A_MONTH)
    if months >= ADULT_MONTHS:
        return f"{int(days / DAYS_A_YEAR)} y"
    return f"{months} mo" if months >= 1 else f"{days} d"


def sex(code: str) -> str:
    """Give Patient's Sex in a word; as it came when it is no code of the standard."""
    return SEXES.get(code, code)


def waited(time: timedelta) -> str:
    """Give a duration: "42 s", "12 min", "3 h 12 min", "2 d 3 h"."""
    seconds = max(0, int(time.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if minutes < 1:
        return f"{seconds} s"
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


def seconds(time_s: float) -> str:
    """Give a duration in seconds: "0.8 s", "42 s", "12 min"."""
    return f"{time_s:.1f} s" if 0 <= time_s < 10 else waited(timedelta(seconds=time_s))


def hours(time: timedelta) -> str:
    """Give a duration in hours and minutes: "0:42", "26:05"."""
    minutes = max(0, int(time.total_seconds())) // 60
    return f"{minutes // 60}:{minutes % 60:02d}"


def shortened(text: str, most: int = MOST) -> str:
    """Give a text that fits a line of a list, whatever a sender put into it."""
    return text if len(text) <= most else f"{text[:most]}\N{HORIZONTAL ELLIPSIS}"


def tamed(value: object) -> object:
    """Give a value as a page may show it: text is ``straight``, all else is left alone.

    What is markup already is no text of a data set.
    """
    return straight(value) if type(value) is str else value


def straight(text: str) -> str:
    """Give text without the marks that turn the writing of what stands around it (UAX 9, 2).

    Right-to-left letters stay as they are; embeddings, overrides, isolates and the three marks
    that look like nothing go.
    """
    return text if text.isascii() else text.translate(_TURNING)


def iso(moment: datetime) -> str:
    """Give a moment for machines."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(at: datetime) -> str:
    """Give a moment for people, where no script puts it into their own zone."""
    return at.astimezone(UTC).isoformat(" ", "minutes")[:16] + " UTC"


def short(digest: str) -> str:
    """Give the part of a hash that fits a line."""
    return digest[:12]


def share(rank: float) -> str:
    """Give a rank as a percentage that never rounds up to all."""
    return f"{min(rank, 0.9999) * 100:.2f}".rstrip("0").rstrip(".") + " %"


FILTERS: Final = {
    "person": person, "day": day, "clock": clock, "sex": sex, "waited": waited, "iso": iso,
    "moment": moment, "short": short, "share": share, "seconds": seconds,
    "hours": hours, "shortened": shortened,
}  # fmt: skip


def _date(text: str) -> date | None:
    """Read a DA value (PS3.5 6.2); eight digits and nothing else."""
    try:
        return date.fromisoformat(text) if len(text) == DA and text.isdecimal() else None
    except ValueError:
        return None
