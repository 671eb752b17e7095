"""A reader's words on our findings: the verdicts, the coded reasons, and which finding is meant."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from triage.finding import Document
from triage.outputs.tidy import quiet

GROUP: Final = "125007"
TRACKING_IDENTIFIER: Final = "112039"
TRACKING_UID: Final = "112040"
ALGORITHM_NAME: Final = "111001"
ALGORITHM_PARAMETERS: Final = "111002"
SERIES: Final = "series: "
"""How the parameter begins that names the series a detector spoke about."""
MAX_DEPTH: Final = 12


class Verdict(StrEnum):
    """What a reader says of a finding, or of a study."""

    AGREE = "agree"
    DISAGREE = "disagree"
    UNSURE = "unsure"
    MISSED = "missed"
    """Of a study: there is something that no detector found."""
    WITHDRAWN = "withdrawn"
    """What was said before is taken back."""


OF_A_FINDING: Final = (Verdict.AGREE, Verdict.DISAGREE, Verdict.UNSURE)

REASONS: Final[Mapping[str, str]] = {
    "nothing-unusual": "Nothing unusual to see",
    "known": "Known and unchanged",
    "variant": "Anatomical variant",
    "artifact": "Artifact or technique",
    "device": "Device or foreign object",
    "other-finding": "Something else than the finding meant",
    "subtle": "Subtle finding",
    "out-of-scope": "Outside what the detector looks at",
    "needs-prior": "Needs a prior examination",
    "image-quality": "Image quality does not allow it",
    "other": "Other",
}
"""The coded reasons, at most 16 characters each (SH). A reader need not give one."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """One finding as its report names it."""

    tracking_uid: str
    tracking_identifier: str
    algorithm: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class Word:
    """One reader's last word on one finding; on the study as a whole where none is named."""

    verdict: Verdict
    reason: str = ""
    """Key of REASONS."""
    tracking_uid: str = ""


def tracked(report: Document) -> tuple[Tracked, ...]:
    """Give the findings of a report of ours, in its order; none of what is no report."""
    with quiet():
        try:
            root = pydicom.dcmread(BytesIO(report.content), specific_tags=["ContentSequence"])
        except InvalidDicomError:
            return ()
        return tuple(_tracked(group) for group in _groups(root, MAX_DEPTH))


def tracking_uid(found: tuple[Tracked, ...], detector: str, series_instance_uid: str) -> str:
    """Give the tracking UID of what a detector said of a series; empty if no finding fits."""
    fits = [one for one in found if one.algorithm == detector]
    exact = [one for one in fits if one.series_instance_uid == series_instance_uid]
    chosen = exact or (fits if len(fits) == 1 else [])
    return chosen[0].tracking_uid if chosen else ""


def _groups(item: Dataset, depth: int) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or ():
        if _name(child) == GROUP:
            yield child
        elif depth and child.get("ValueType") == "CONTAINER":
            yield from _groups(child, depth - 1)


def _tracked(group: Dataset) -> Tracked:
    told: dict[str, list[str]] = {}
    for item in group.get("ContentSequence") or ():
        value = item.get("UID") or item.get("TextValue") or ""
        told.setdefault(_name(item), []).append(str(value))
    series = [one for one in told.get(ALGORITHM_PARAMETERS, ()) if one.startswith(SERIES)]
    return Tracked(
        tracking_uid=_first(told, TRACKING_UID),
        tracking_identifier=_first(told, TRACKING_IDENTIFIER),
        algorithm=_first(told, ALGORITHM_NAME),
        series_instance_uid=series[0].removeprefix(SERIES) if series else "",
    )


def _first(told: Mapping[str, list[str]], name: str) -> str:
    return told.get(name, [""])[0]


def _name(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeValue", "")) if names else ""
