"""De-identification of one data set by PS3.15 Annex E, the same for images and for our results.

The actions are those of Table E.1-1 as dicom-anonymizer carries it; the walk is ours, because the
library's leaves nested sequences alone and empties a report's content. Beyond the profile, every
free text that the table does not name is removed too, unless it is a standard code or stands in a
document that we wrote ourselves, whose words are known.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from dicomanonymizer import (  # type: ignore[import-untyped] # it says nothing of its types
    simpledicomanonymizer as library,
)
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID

from triage.errors import TriageError

REMOVED: Final = "REMOVED"
DUMMY: Final[Mapping[str, object]] = {
    "DA": "19000101", "DT": "19000101000000", "TM": "000000", "AS": "000Y", "IS": "0", "DS": "0",
    "PN": REMOVED, "FD": 0.0, "FL": 0.0, "SL": 0, "SS": 0, "UL": 0, "US": 0,
}  # fmt: skip
"""Where a value is required; any other text becomes REMOVED."""
TEXT: Final = frozenset({"LO", "SH", "PN", "LT", "ST", "UT", "UC", "AE"})
BINARY: Final = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
KEPT_BINARY: Final = frozenset(
    {"PixelData", "FloatPixelData", "DoubleFloatPixelData", "ICCProfile", "LUTData",
     "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
     "BluePaletteColorLookupTableData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"}
)  # fmt: skip
CODES: Final = frozenset({"CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodeMeaning",
                          "CodingSchemeVersion"})  # fmt: skip
SCHEMES: Final = frozenset(
    {"DCM", "SCT", "SRT", "SNM3", "UCUM", "LN", "RADLEX", "RADELEMENT", "FMA", "UMLS", "NCIt",
     "UBERON", "MDC", "I10", "I10P", "I9C", "CVX", "99TRIAGE"}
)  # fmt: skip
"""Coding schemes whose meanings a registry wrote, and our own."""
KEPT_UIDS: Final = frozenset(
    {"SOPClassUID", "ReferencedSOPClassUID", "TransferSyntaxUID", "MediaStorageSOPClassUID",
     "ImplementationClassUID", "CodingSchemeUID", "ContextUID", "MappingResourceUID",
     "ReferencedTransferSyntaxUIDInFile", "RelatedGeneralSOPClassUID",
     "ReferencedRelatedGeneralSOPClassUIDInFile", "OriginalSpecializedSOPClassUID"}
)  # fmt: skip
BORROWED: Final = frozenset(
    {"RequestAttributesSequence", "ProcedureCodeSequence", "RequestedProcedureCodeSequence",
     "IssuerOfAccessionNumberSequence", "IssuerOfPatientIDQualifiersSequence",
     "PositionReferenceIndicator"}
)  # fmt: skip
"""What our documents copy from the images: others' words."""
ORDERS: Final = "ReferencedRequestSequence"
"""Of a report: all that it holds identifies an order, so nothing of it would be left."""
REFUSED: Final = ("1.2.840.10008.5.1.4.1.1.104.",)
"""Encapsulated documents: their pages name the patient, and no table reaches into them."""
UID_IN_TEXT: Final = re.compile(r"(?<![\w.])[0-2](?:\.\d+){4,}(?![\w.])|(?<![\w.])2\.25\.\d+")
METHOD: Final = "PS3.15 Annex E Basic Profile; all free text removed"


class NotSafe(TriageError):
    """It cannot be made safe and stays out of the export; the rest goes on."""


class Pseudonyms:
    """Names for what must not be told: the same for the same key, nothing without it."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self._key, f"{kind}\0{value}".encode(), hashlib.sha256).digest()

    def uid(self, value: str) -> str:
        """Give the UID that stands for another (PS3.5 B.2: 2.25. and a number of 122 bits)."""
        return f"2.25.{int.from_bytes(self._digest('uid', value)[:16], 'big') >> 6}"

    def patient(self, patient_id: str, issuer: str) -> str:
        """Give the Patient ID that stands for another."""
        return self._digest("patient", f"{patient_id}\0{issuer}").hex()[:16].upper()


@cache
def _actions() -> dict[int, str]:
    """Give Table E.1-1 by tag, as names of the library's actions; repeating groups go by masks."""
    table = library.initialize_actions_2024b()
    single = {tag: action for tag, action in table.items() if len(tag) == 2}
    return {tag[0] << 16 | tag[1]: action.__name__ for tag, action in single.items()}


def deidentify(dataset: Dataset, names: Pseudonyms, *, ours: bool) -> str:
    """Take everything from a data set that tells who it is about; gives the pseudonym.

    Args:
        dataset: changed in place.
        names: keyed, so that references between instances hold.
        ours: we wrote it; its words are statements of ours and may stay.

    Raises:
        NotSafe: it cannot be made safe: an encapsulated document, or words in its pixels.
    """
    _refuse(dataset)
    patient = names.patient(
        str(dataset.get("PatientID") or ""), str(dataset.get("IssuerOfPatientID") or "")
    )
    _walk(dataset, names, ours=ours)
    _sign(dataset, patient)
    return patient


def _refuse(dataset: Dataset) -> None:
    sop_class = str(dataset.get("SOPClassUID") or "")
    if sop_class.startswith(REFUSED):
        msg = "an encapsulated document names the patient on its pages; leave it out"
        raise NotSafe(msg)
    if str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES":
        msg = "Burned In Annotation says YES: its pixels hold words; leave it out, or crop it first"
        raise NotSafe(msg)


def _walk(dataset: Dataset, names: Pseudonyms, *, ours: bool) -> None:
    """Apply the table to one level, and to every item of what stays."""
    standard = str(dataset.get("CodingSchemeDesignator") or "") in SCHEMES
    for element in list(dataset):
        tag = element.tag
        action = _actions().get(int(tag), "keep")
        if tag.is_private or tag.element == 0 or tag.group & 0xFF00 in {0x5000, 0x6000}:
            del dataset[tag]
        elif element.VR == "SQ":
            _walk_items(dataset, element, action, names, ours=ours)
        elif element.VR == "UI":
            _rename(element, names)
        elif action == "delete" or _is_opaque(element):
            del dataset[tag]
        elif action != "keep":
            _replace(element, may_be_empty=action in {"empty", "delete_or_empty"})
        elif element.VR in TEXT:
            is_known = standard if element.keyword in CODES else ours
            _clean_text(element, names, is_known=is_known and element.keyword not in BORROWED)


def _clean_text(element: DataElement, names: Pseudonyms, *, is_known: bool) -> None:
    """Remove words that nobody vouches for; in ours, give each UID that they name its other one."""
    if not is_known:
        _replace(element, may_be_empty=False)
    elif isinstance(element.value, str):
        element.value = UID_IN_TEXT.sub(lambda found: _other(found[0], names), element.value)


def _is_opaque(element: DataElement) -> bool:
    """Tell what nobody can look into: an address, bytes that are no pixels."""
    is_bytes = element.VR in BINARY and element.keyword not in KEPT_BINARY
    return element.VR == "UR" or is_bytes


def _walk_items(
    dataset: Dataset, element: DataElement, action: str, names: Pseudonyms, *, ours: bool
) -> None:
    """Remove a sequence, or clean its items: a report's content and references stay."""
    if action == "delete" or element.keyword == ORDERS:
        del dataset[element.tag]
        return
    for item in element.value:
        _walk(item, names, ours=ours and element.keyword not in BORROWED)


def _rename(element: DataElement, names: Pseudonyms) -> None:
    """Give an instance, series, study or frame of reference its other UID; keep the standard's."""
    if element.keyword in KEPT_UIDS or not element.value:
        return
    values = [element.value] if isinstance(element.value, str) else list(element.value)
    renamed = [_other(str(one), names) for one in values]
    element.value = renamed[0] if len(renamed) == 1 else renamed


def _other(uid: str, names: Pseudonyms) -> str:
    return uid if UID(uid).name != uid else names.uid(uid)


def _replace(element: DataElement, *, may_be_empty: bool) -> None:
    """Empty a value, or put a dummy where an IOD may want one; what was empty stays so."""
    if element.is_empty:
        return
    if may_be_empty:
        element.value = None
    elif element.VR in BINARY:
        element.value = b"\0\0"
    else:
        element.value = DUMMY.get(element.VR, REMOVED)


def _sign(dataset: Dataset, patient: str) -> None:
    """Say in the data set what was done to it (PS3.15 E.1.1, 6 to 8; PS3.3 C.7.1.1)."""
    dataset.PatientID = patient
    dataset.PatientName = f"Pseudonym^{patient}"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    dataset.DeidentificationMethodCodeSequence = [code]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
