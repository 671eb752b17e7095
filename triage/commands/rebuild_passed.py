"""What ``triage rebuild-index`` passes over: a file by itself, with a coded reason."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from errno import errorcode
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from db.engine import Database
from triage.arrival import Unindexable
from triage.errors import TriageError
from triage.passed_over import EVERYBODYS, answers, is_of_the_data, refusal
from triage.record.quarantined import DIGEST

DIGITS: Final = 12
"""Of a digest, to name its file by."""
REASONS: Final = {
    "unreadable": "the disk does not give it",
    "corrupt": "its bytes are no longer its digest's",
    "misplaced": "it is not where its name belongs, or its name is not ours",
    "unparsable": "no readable DICOM instance, kept in quarantine",
    "unindexable": "the database refuses its values, kept in quarantine",
    "study": "the rows of its study cannot be written, so none of the study's files is indexed",
    "step": "a procedure step that was kept cannot be recalled",
    "internal": "an error of ours",
}
"""What each code means."""


@dataclass(frozen=True, slots=True)
class Passed:
    """One file that was passed over. No value of it is here."""

    file: str
    """The first digits of its digest; its folder where it has none."""
    code: str
    """Key of REASONS."""
    detail: str = ""
    """The kind of the error."""


class Corrupt(Exception):
    """A kept file whose bytes are no longer its digest's."""


class Misplaced(Exception):
    """An entry of the store that is not where its name belongs, or whose name is not ours."""


class Study(Exception):
    """What is wrong is a whole study's; its cause is the error that was met."""


class OfOne(Exception):
    """One file's error, in the midst of its study; its cause is the error that was met."""

    def __init__(self, sha256: str) -> None:
        super().__init__()
        self.sha256 = sha256


class Stopped(TriageError):
    """Every file would have met this error. What was indexed before it is kept."""


def entries(root: Path, folder: str) -> Iterator[Path]:
    """Give the entries of one of the store's folders that end as a kept file does, sorted.

    Raises:
        OSError: the disk does not list it.
    """
    place = root / "store" / folder
    for name in sorted(os.listdir(place)):  # noqa: PTH208 - glob says nothing of what it cannot list
        if name.endswith(".dcm"):
            yield place / name


def is_placed(path: Path) -> bool:
    """Tell whether an entry of the store has a digest for a name, and its folder is that one's."""
    return bool(DIGEST.fullmatch(path.stem)) and path.parent.name == path.stem[:2]


def is_gone(path: Path, error: BaseException) -> bool:
    """Tell whether there is nothing any more: retention was at it."""
    return isinstance(error, FileNotFoundError) and not os.path.lexists(path)


def passed(path: Path, error: BaseException) -> Passed:
    """Say what is wrong with one entry, by the kind of the error alone: its words may quote."""
    folder = f"{path.parent.parent.name}/{path.parent.name}"
    name = path.stem[:DIGITS] if DIGEST.fullmatch(path.stem) else folder
    return Passed(name, *_reason(error))


def is_everybodys(database: Database, error: BaseException) -> bool:
    """Tell whether every other file would meet the same error: it is the database's or the disk's.

    Where no server answered, it is asked again: a driver also gives up by itself on a statement.
    """
    if isinstance(error, OSError):
        return error.errno in EVERYBODYS
    if not isinstance(error, DBAPIError):
        return isinstance(error, NoConnection)
    if is_of_the_data(error) or isinstance(error, IntegrityError):
        return False
    named = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
    return named is not None or not answers(database)


def stopped(error: OSError | SQLAlchemyError, indexed: int, count: int) -> Stopped:
    """Give the error that ends a run: what, why, and what to do next."""
    if isinstance(error, OSError):
        why, do = f"the disk or this process ({kind(error)})", "make room or repair it"
    else:
        why, do = f"the database ({kind(error)})", "see that it runs, takes rows and has room"
    msg = (
        f"stopped by {why} after {indexed} files were indexed and {count} passed over; {do}, "
        "then run `triage rebuild-index` again: it goes on with what is missing"
    )
    return Stopped(msg)


def kind(error: BaseException) -> str:
    """Name an error without its own words, which may quote a value or a path."""
    code = errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    return f"{type(error).__name__} {code}".strip()


def _reason(error: BaseException) -> tuple[str, str]:
    """Give a key of REASONS and its detail."""
    if isinstance(error, Corrupt | Misplaced):
        return type(error).__name__.lower(), ""
    if isinstance(error, Unindexable):
        return "unparsable", str(error)
    if isinstance(error, DBAPIError) and is_of_the_data(error):
        return "unindexable", refusal(error)
    if isinstance(error, Study):
        return "study", kind(error.__cause__ or error)
    return "unreadable" if isinstance(error, OSError) else "internal", kind(error)
