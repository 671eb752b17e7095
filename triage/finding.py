"""What the pipeline says about a study: detections, a decision, documents, receipts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from triage.errors import Reason
from triage.study import Study


class Outcome(StrEnum):
    """What a study came to, in the words a reader sees."""

    PENDING = "pending"
    PRIORITISED = "prioritised"
    NOT_PRIORITISED = "not prioritised"
    NOT_ANALYSED = "not analysed"
    HELD = "held"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Detector:
    """Which algorithm spoke: enough to name it for ever (TID 4019, and the artifact's hash)."""

    name: str
    """The artifact's name, as routes name it."""
    family: str
    version: str
    weights_sha256: str
    artifact_sha256: str
    """Over weights, card and calibration: identifies model and thresholds together."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The healthy studies a p-value was taken against."""

    stratum: str
    """For example "DX/CHEST/adult"."""
    n: int
    fallback: tuple[str, ...]
    """Strata tried before this one, most specific first; empty when the first one fitted."""
    sha256: str
    date: str = ""
    """ISO 8601, of the day it was calibrated; empty where the artifact does not say."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a series looks like to a detector that tells such things apart, and what it is called.

    Words are those of the strata: "CHEST", "DX".
    """

    kind: str
    """"organ" or "modality"."""
    word: str
    """The likeliest."""
    probability: float
    """Its probability, the mean over the slices."""
    header: str
    """What the header says; empty where it says nothing, or nothing the detector was taught."""
    header_probability: float | None
    """The probability of that; None where ``header`` is empty."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A slice that carried a series' score. Where mode is triage, nobody is shown it."""

    sop_instance_uid: str
    score: float
    p_value: float
    """The series' p-value, had this slice been its strangest."""
    region_px: tuple[int, int, int, int] | None = None
    """Rows and columns of the source image that the strangest region spans: top, left, bottom,
    right, the last two excluded. None without a map, as always in triage mode."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One detector's word on one series."""

    detector: Detector
    calibration: Calibration
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    """The instances whose pixels were analysed, in slice order."""
    key_sop_instance_uid: str
    """The instance with the highest score."""
    score: float
    """Raw, no unit, higher is stranger; comparable only within one detector."""
    p_value: float
    """Conformal, against the calibration studies of the stratum; in (0, 1]."""
    map_sha256: str = ""
    """Of the stored anomaly map (``triage.maps``); empty without one, as always in triage mode."""

    others: Mapping[str, float] = field(default_factory=dict)
    """The detector's further raw scores of the key image, by name; nothing is decided by them."""
    looks: tuple[Look, ...] = ()
    carried: tuple[Carried, ...] = ()
    """The strangest slices, the strangest first."""

    @property
    def rank(self) -> float:
        """Give 1 - p: the share of healthy studies that looked less strange."""
        return 1.0 - self.p_value


@dataclass(frozen=True, slots=True)
class Refusal:
    """A detector that a route named and that could not speak about a series."""

    detector: str
    """The artifact's name, as routes name it."""
    series_instance_uid: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the study stands on the worklist and why."""

    outcome: Outcome
    priority: int
    """0 is routine; higher is sooner."""
    priority_name: str
    sentence: str
    """One plain sentence for the reader."""
    because: Detection | None = None
    reason: Reason | None = None
    thresholds: tuple[tuple[str, float], ...] = ()
    """Each priority's name, and the p-value at or below which it is earned."""

    @property
    def threshold(self) -> float | None:
        """Give the notification threshold: a p-value at or below it earns a priority."""
        return max((p_value for _, p_value in self.thresholds), default=None)


WARNINGS: Final[Mapping[str, str]] = {"header-image": "Header and image disagree"}
"""By code: what a person is warned of."""


@dataclass(frozen=True, slots=True)
class StudyWarning:
    """Something about a study that a person should look at. It moves no study up or down."""

    code: str
    """Key of WARNINGS."""
    sentence: str
    """One plain sentence without patient data."""
    detector: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """All that was found out about one generation of a study."""

    study: Study
    detections: tuple[Detection, ...]
    decision: Decision
    refusals: tuple[Refusal, ...] = ()
    """Detectors that were asked and could not speak."""
    warnings: tuple[StudyWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """One object to send, built once; its bytes never change afterwards."""

    kind: str
    """Key of OUTPUTS."""
    sop_class_uid: str
    sop_instance_uid: str
    content: bytes
    """A whole Part 10 file."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a destination answered to one document."""

    sop_instance_uid: str
    destination: str
    status: int
    """C-STORE status; 0x0000 and the 0xBxxx warnings mean stored (PS3.4 Table B.2-1)."""
