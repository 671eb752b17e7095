"""The coded words of our reports: standard codes, and the few of our own scheme 99TRIAGE."""

from collections.abc import Mapping
from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from triage.finding import Outcome

SCHEME: Final = "99TRIAGE"

ANOMALY_SCORE: Final = Code("ANOMALY-SCORE", SCHEME, "Anomaly score")
P_VALUE: Final = Code("P-VALUE", SCHEME, "Conformal p-value against calibration studies")
TRIAGE_RESULT: Final = Code("TRIAGE-RESULT", SCHEME, "Triage result of the study")
PRIORITY: Final = Code("PRIORITY", SCHEME, "Proposed worklist priority")
INTENDED_USE: Final = Code("INTENDED-USE", SCHEME, "Statement of intended use")
WHY_NOT: Final = Code("WHY-NOT-ANALYSED", SCHEME, "Reason for not analysing")

RESULTS: Final[Mapping[Outcome, Code]] = {
    Outcome.PRIORITISED: Code("PRIORITISED", SCHEME, "Prioritised"),
    Outcome.NOT_PRIORITISED: Code("NOT-PRIORITISED", SCHEME, "Not prioritised"),
    Outcome.NOT_ANALYSED: Code("NOT-ANALYSED", SCHEME, "Not analysed"),
}

RUN_SUMMARY: Final[Mapping[Outcome, Code]] = {
    Outcome.PRIORITISED: codes.cid6047.AllAlgorithmsSucceededWithFindings,
    Outcome.NOT_PRIORITISED: codes.cid6047.AllAlgorithmsSucceededWithoutFindings,
    Outcome.NOT_ANALYSED: codes.cid6047.NoAlgorithmsSucceededWithoutFindings,
}
"""CID 6047 CAD Processing and Findings Summary."""

ENGLISH: Final = Code("en-US", "RFC5646", "English (United States)")
"""CID 5000 Languages."""

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


def scheme() -> CodingSchemeIdentificationItem:
    """Identify our own scheme (Coding Scheme Identification Sequence, PS3.3 C.12.1.1.1)."""
    return CodingSchemeIdentificationItem(
        designator=SCHEME, name="Triage private codes", responsible_organization="Triage"
    )


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
