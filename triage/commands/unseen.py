"""Whether a detector has seen the pictures it is to be measured on, as far as its card tells."""

from collections.abc import Sequence

from models.artifact import Card, image_digest
from triage.commands.training_plan import Picture
from triage.errors import ConfigError


def require_unseen(
    card: Card,
    tested: Sequence[Picture],
    everything: Sequence[Picture],
    calibrated: Sequence[str] = (),
) -> tuple[str, ...]:
    """Refuse pictures and patients the detector learnt from; say what was checked.

    ``calibrated`` are digests of images that set the thresholds after the training.

    The card keeps a digest of every picture used and no patient. So a patient is known only where
    ``everything``, the same folder's other lines, shows a picture that was used beside that
    patient.

    Raises:
        ConfigError: a picture, or another of its patient, was trained or calibrated on.
    """
    used = frozenset(card.fingerprint.images) | frozenset(calibrated)
    if used:
        _refuse_used(used, tested, everything)
    if not card.fingerprint.images:
        return (
            "NOT checked: the card is older than the record of used pictures. Whether the "
            "detector was trained on these pictures or patients is not known.",
        )
    tested_paths = {one.path for one in tested}
    others = [one for one in everything if one.path not in tested_paths]
    return (
        f"No tested picture is among the {len(used)} that were trained or calibrated on "
        "(same bytes).",
        f"No patient of a tested picture is, by the folder's other {len(others)} lines, one of "
        "theirs; pictures that are not in this folder cannot be compared by patient.",
    )


def _refuse_used(
    used: frozenset[str], tested: Sequence[Picture], everything: Sequence[Picture]
) -> None:
    seen = [one for one in tested if _digest(one) in used]
    _refuse(seen, "was used to train or calibrate this detector")
    tested_paths = {one.path for one in tested}
    others = [one for one in everything if one.path not in tested_paths]
    persons = {one.patient for one in others if one.path.is_file() and _digest(one) in used}
    _refuse(
        [one for one in tested if one.patient in persons],
        "is of a patient whose other pictures were used to train or calibrate this detector",
    )


def _refuse(seen: Sequence[Picture], why: str) -> None:
    if seen:
        first = seen[0]
        msg = (
            f"{first.where} and {len(seen) - 1} more: the picture {why}; measure on a split that "
            "was not used, or take these lines out"
        )
        raise ConfigError(msg)


def _digest(one: Picture) -> str:
    try:
        return image_digest(one.path.read_bytes())
    except OSError as why:
        msg = f"{one.where}: cannot read {one.path}: {why.strerror}; mend it, or take the line out"
        raise ConfigError(msg) from None
