"""Errors whose class is their consequence, and the coded reasons a study can be given.

An error message never holds a value from a data set: only keywords, codes, counts and UIDs,
because it ends up in the transition log.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a study was not analysed, held or failed: a code for machines, a sentence for people."""

    code: str
    """Key of REASONS."""
    detail: str = ""
    """One plain sentence without patient data."""

    @property
    def meaning(self) -> str:
        """Give the code's meaning in words."""
        return REASONS[self.code].meaning

    @property
    def sentence(self) -> str:
        """Give the detail, or the meaning, as a sentence without its full stop."""
        text = self.detail or self.meaning
        return text[:1].upper() + text[1:]

    def __str__(self) -> str:
        return f"{self.code}: {self.detail or self.meaning}"


@dataclass(frozen=True, slots=True)
class ReasonCode:
    """A coded reason. ``dicom`` is its nearest code of CID 9300 (scheme DCM), for the report."""

    meaning: str
    dicom: tuple[str, str]


_WRONG_FORMAT = ("110521", "Objects incorrectly formatted")
_WRONG_TYPE = ("110522", "Object Types not supported")
_INCOMPLETE = ("110523", "Object Set incomplete")
_NO_RESOURCE = ("110527", "Resource inadequate")
_WRONG_ENTRY = ("110514", "Incorrect worklist entry selected")
_UNSPECIFIED = ("110513", "Discontinued for unspecified reason")

REASONS: Final[dict[str, ReasonCode]] = {
    "no-image": ReasonCode("The study holds no image", _WRONG_TYPE),
    "no-route": ReasonCode("No route takes this kind of study", _WRONG_TYPE),
    "no-series": ReasonCode("No series of the study fits its route", _WRONG_TYPE),
    "no-detector": ReasonCode("No trained detector for this kind of study", _WRONG_TYPE),
    "uncalibrated": ReasonCode("No calibration for this kind of study", _NO_RESOURCE),
    "untrusted-detector": ReasonCode("The detector has no trusted signature", _NO_RESOURCE),
    "header": ReasonCode("A header lacks what the analysis needs", _WRONG_FORMAT),
    "pixel-data": ReasonCode("Pixel data could not be decoded", _WRONG_FORMAT),
    "resource-limit": ReasonCode("Decoding would exceed the resource limit", _NO_RESOURCE),
    "incomplete": ReasonCode("The series is incomplete", _INCOMPLETE),
    "unparsable": ReasonCode("The file is not a readable DICOM instance", _WRONG_FORMAT),
    "unindexable": ReasonCode("The index cannot hold what the file says", _WRONG_FORMAT),
    "no-patient": ReasonCode("Patient ID is missing", _WRONG_FORMAT),
    "identity-conflict": ReasonCode("One study with two patients", _UNSPECIFIED),
    "content-conflict": ReasonCode("One SOP Instance UID with two contents", _UNSPECIFIED),
    "study-incomplete": ReasonCode("Not every instance of the study arrived", _INCOMPLETE),
    "images-deleted": ReasonCode("Images of the study were deleted by retention", _INCOMPLETE),
    "wrong-worklist-entry": ReasonCode(
        "The modality says it took the wrong worklist entry", _WRONG_ENTRY
    ),
    "retracted": ReasonCode("Rejected at its source by a rejection note", _UNSPECIFIED),
    "identity-differs": ReasonCode(
        "This Patient ID has another name or birth date elsewhere", _UNSPECIFIED
    ),
    "demographics-changed": ReasonCode("The source corrected the patient's data", _UNSPECIFIED),
    "possible-copy": ReasonCode("Another study has the same pixels", _UNSPECIFIED),
    "revised": ReasonCode("The source sent a newer version of this instance", _UNSPECIFIED),
    "prior-unexpected": ReasonCode(
        "Sent to the AE title of priors, but not asked for", _UNSPECIFIED
    ),
    "prior-refused": ReasonCode("Sent as a prior of another patient, or in doubt", _UNSPECIFIED),
    "found-in-quarantine": ReasonCode(
        "It lay in quarantine when the index was made anew", _UNSPECIFIED
    ),
    "own-report": ReasonCode("A report of ours that came back", _WRONG_TYPE),
    "not-selected": ReasonCode("No route selects this series or image", _WRONG_TYPE),
    "set-aside": ReasonCode("A person set it aside", _UNSPECIFIED),
    "corrupt": ReasonCode("A stored file changed on disk", _UNSPECIFIED),
    "crashed": ReasonCode("Processing crashed repeatedly", _UNSPECIFIED),
    "gave-up": ReasonCode("Gave up after repeated attempts", _UNSPECIFIED),
    "refused": ReasonCode("The destination refused the report", _UNSPECIFIED),
    "internal": ReasonCode("An internal error", _UNSPECIFIED),
}


class TriageError(Exception):
    """Anything this product raises on purpose."""


class CodedError(TriageError):
    """An error that carries a coded reason."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.reason = Reason(code, detail)
        super().__init__(str(self.reason))


class NotEligible(CodedError):
    """Not ours to judge. Ordinary. The study becomes "not analysed" with this reason; no alarm."""


class Held(CodedError):
    """Identity or content is in doubt. The study waits for a person; no report leaves."""


class Broken(CodedError):
    """It will not get better by itself. The study becomes FAILED and visible."""

    def __init__(self, code: str, detail: str = "", *, status: int | None = None) -> None:
        super().__init__(code, detail)
        self.status = status
        """What a destination answered: a DIMSE status, or HTTP's."""


class TryAgain(TriageError):
    """The world was busy. Same state, later, with backoff; after the last attempt, FAILED."""

    def __init__(self, why: str = "", *, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status
        """What a destination answered: a DIMSE status, or HTTP's."""


class InDoubt(TryAgain):
    """No answer came: a destination may hold the document. Ask it before sending again."""


class Refused(TriageError):
    """An instance the listener does not accept. ``status`` is the C-STORE status (PS3.4 B.2.3)."""

    def __init__(self, status: int, why: str, error_id: int = 0) -> None:
        self.status = status
        self.error_id = error_id
        """Of an N-service (PS3.7 C.4)."""
        super().__init__(why)


class ConfigError(TriageError):
    """The configuration is wrong. The message names the file, the key and what to write there."""
