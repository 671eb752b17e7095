"""The coded words of our reports: standard codes, and the few of our own scheme 99TRIAGE."""

from collections.abc import Mapping
from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from triage.errors import REASONS, Reason
from triage.finding import Assessment, Outcome
from triage.study import Study

SCHEME: Final = "99TRIAGE"

ANOMALY_SCORE: Final = Code("ANOMALY-SCORE", SCHEME, "Anomaly score")
P_VALUE: Final = Code("P-VALUE", SCHEME, "Conformal p-value against calibration studies")
TRIAGE_RESULT: Final = Code("TRIAGE-RESULT", SCHEME, "Triage result of the study")
PRIORITY: Final = Code("PRIORITY", SCHEME, "Proposed worklist priority")
INTENDED_USE: Final = Code("INTENDED-USE", SCHEME, "Statement of intended use")
WHY_NOT: Final = Code("WHY-NOT-ANALYSED", SCHEME, "Reason for not analysing")
WHY_FAILED: Final = Code("WHY-FAILED", SCHEME, "Reason for the failed analysis")
DETECTION_RESULT: Final = Code("DETECTION-RESULT", SCHEME, "Result of the detector")
ABOVE_THRESHOLD: Final = Code("ABOVE-THRESHOLD", SCHEME, "At or beyond notification threshold")
BELOW_THRESHOLD: Final = Code("BELOW-THRESHOLD", SCHEME, "Below notification threshold")
ANOMALY_MAP: Final = Code("ANOMALY-MAP", SCHEME, "Anomaly map")
"""What the pixels of a parametric map measure: a detector's raw word on each pixel, no unit."""

RESULTS: Final[Mapping[Outcome, Code]] = {
    Outcome.PRIORITISED: Code("PRIORITISED", SCHEME, "Prioritised"),
    Outcome.NOT_PRIORITISED: Code("NOT-PRIORITISED", SCHEME, "Not prioritised"),
    Outcome.NOT_ANALYSED: Code("NOT-ANALYSED", SCHEME, "Not analysed"),
    Outcome.FAILED: Code("FAILED", SCHEME, "Failed"),
}

REASON_NAMES: Final[Mapping[Outcome, Code]] = {
    Outcome.NOT_ANALYSED: WHY_NOT,
    Outcome.FAILED: WHY_FAILED,
}

SUCCEEDED: Final[Code] = codes.cid6042.Succeeded
FAILED_RUN: Final[Code] = codes.cid6042.Failed
NOT_ATTEMPTED: Final[Code] = codes.cid6042.NotAttempted
_SUMMARIES: Final[Mapping[object, Code]] = {
    "none": codes.cid6047.NoAlgorithmsSucceededWithoutFindings,
    ("some", False): codes.cid6047.NotAllAlgorithmsSucceededWithoutFindings,
    ("some", True): codes.cid6047.NotAllAlgorithmsSucceededWithFindings,
    ("all", False): codes.cid6047.AllAlgorithmsSucceededWithoutFindings,
    ("all", True): codes.cid6047.AllAlgorithmsSucceededWithFindings,
}
"""CID 6047: which algorithms succeeded, and whether anything was found."""
_FAILED_WHILE_RUNNING: Final = frozenset(
    {"pixel-data", "resource-limit", "uncalibrated", "corrupt", "crashed", "gave-up", "internal"}
)
"""Reasons that a detector meets when it has begun; it does not even begin for the others."""

ENGLISH: Final = Code("en-US", "RFC5646", "English (United States)")
"""CID 5000 Languages; the code names the country too."""

FINDING_CATEGORY: Final = Code("276214006", "SCT", "Finding category")
"""TID 1501 row 5."""

QUALITATIVE_EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
"""TID 1500 row 12."""

_PROCEDURES: Final[Mapping[str, Code]] = {
    "CT": codes.cid100.CTUnspecifiedBodyRegion,
    "MR": codes.cid100.MRIUnspecifiedBodyRegion,
    "NM": codes.cid100.NMUnspecifiedBodyRegion,
    "PT": codes.cid100.PETUnspecifiedBodyRegion,
    **dict.fromkeys(("CR", "DX", "RG", "RF"), codes.cid100.XRUnspecifiedBodyRegion),
}
_MODALITIES: Final[Mapping[str, Code]] = {
    code.value: code for code in (getattr(codes.cid29, name) for name in codes.cid29.dir())
}
_OTHER: Final = Code("OT", "DCM", "Other Modality")
_REGIONS: Final[Mapping[str, Code]] = {
    "ABDOMEN": Code("818981001", "SCT", "Abdomen"),
    "BRAIN": Code("12738006", "SCT", "Brain"),
    "CHEST": Code("816094009", "SCT", "Thorax"),
    "HEAD": Code("69536005", "SCT", "Head"),
    "LUNG": Code("39607008", "SCT", "Lung"),
    "NECK": Code("45048000", "SCT", "Neck"),
    "PELVIS": Code("816092008", "SCT", "Pelvis"),
    "SKULL": Code("89546000", "SCT", "Skull"),
    "THORAX": Code("816094009", "SCT", "Thorax"),
}
"""Body Part Examined to its code, PS3.16 annex L."""


def scheme() -> CodingSchemeIdentificationItem:
    """Identify our own scheme (Coding Scheme Identification Sequence, PS3.3 C.12.1.1.1)."""
    return CodingSchemeIdentificationItem(
        designator=SCHEME, name="Triage private codes", responsible_organization="Triage"
    )


def run_summary(assessment: Assessment) -> Code:
    """Say how the run went, all algorithms together (CID 6047)."""
    if not assessment.detections:
        return _SUMMARIES["none"]
    found = assessment.decision.outcome == Outcome.PRIORITISED
    return _SUMMARIES["some" if assessment.refusals else "all", found]


def run_outcome(reason: Reason) -> Code:
    """Say how it went with one algorithm that gave no result (CID 6042)."""
    return FAILED_RUN if reason.code in _FAILED_WHILE_RUNNING else NOT_ATTEMPTED


def why(reason: Reason) -> Code:
    """Give a reason's nearest code of CID 9300."""
    value, meaning = REASONS[reason.code].dicom
    return Code(value, "DCM", meaning)


def region(study: Study, series_instance_uid: str) -> Code | None:
    """Give the body part that a series shows (CID 4), where its header names one we know."""
    parts = {one.series_instance_uid: one.body_part_examined for one in study.series}
    return _REGIONS.get(parts.get(series_instance_uid, ""))


def modality(value: str) -> Code:
    """Give the code of a Modality (CID 29)."""
    return _MODALITIES.get(value, _OTHER)


def procedure(header: Dataset, of_modality: str) -> Code:
    """Give the code of the imaging procedure: as the source says, else by modality (CID 100)."""
    for keyword in ("ProcedureCodeSequence", "RequestedProcedureCodeSequence"):
        for item in header.get(keyword, ()):
            value, of_scheme, meaning = (
                item.get(name) for name in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
            )
            if all(isinstance(part, str) and part for part in (value, of_scheme, meaning)):
                return Code(value, of_scheme, meaning)
    return _PROCEDURES.get(of_modality, codes.cid100.ImagingProcedure)
