"""Whether a detector has seen the pictures it is to be measured on, as far as its card tells."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from models.artifact import Card, image_digest
from triage.commands.training_plan import Picture
from triage.errors import ConfigError


def require_unseen(
    card: Card, tested: Sequence[Picture], everything: Sequence[Picture]
) -> tuple[str, ...]:
    """Refuse pictures and patients the detector learnt from; say what was checked.

    The card keeps a digest of every picture used and no patient. So a patient is known only where
    ``everything``, the same folder's other lines, shows a picture that was used beside that
    patient.

    Raises:
        ConfigError: a picture, or another of its patient, was trained or calibrated on.
    """
    if not card.fingerprint.images:
        return (
            "NOT checked: the card is older than the record of used pictures. Whether the "
            "detector was trained on these pictures or patients is not known.",
        )
    used = frozenset(card.fingerprint.images)
    seen = [one for one in tested if _digest(one.path) in used]
    _refuse(seen, "was used to train or calibrate this detector", everything)
    tested_paths = {one.path for one in tested}
    others = [one for one in everything if one.path not in tested_paths]
    persons = {one.patient for one in others if one.path.is_file() and _digest(one.path) in used}
    _refuse(
        [one for one in tested if one.patient in persons],
        "is of a patient whose other pictures were used to train or calibrate this detector",
        everything,
    )
    return (
        f"No tested picture is among the {len(used)} that were trained or calibrated on "
        "(same bytes).",
        f"No patient of a tested picture is, by the folder's other {len(others)} lines, one of "
        "theirs; pictures that are not in this folder cannot be compared by patient.",
    )


def row(picture: Picture, everything: Iterable[Picture]) -> int:
    """Give the line of split.csv that a picture stands in, the header being line 1."""
    return 2 + [one.path for one in everything].index(picture.path)


def _refuse(seen: Sequence[Picture], why: str, everything: Sequence[Picture]) -> None:
    if seen:
        first = seen[0]
        msg = (
            f"split.csv line {row(first, everything)} ({first.path.name}) and "
            f"{len(seen) - 1} more: the picture {why}; measure on a split that was not used, "
            "or take these lines out"
        )
        raise ConfigError(msg)


def _digest(path: Path) -> str:
    try:
        return image_digest(path.read_bytes())
    except OSError as why:
        msg = f"cannot read {path}: {why.strerror}; mend it, or take its line out of split.csv"
        raise ConfigError(msg) from None
