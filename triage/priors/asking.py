"""What a source is asked, Study Root (PS3.4 C.4): C-FIND, then C-GET or C-MOVE series by series."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import build_role, evt
from pynetdicom.association import Association

from triage.dimse import STUDY_ROOT_FIND, SUCCESS, AssociationLost, Remote, Syntaxes, associate
from triage.errors import Broken, TryAgain
from triage.prior_sources import PriorSource
from triage.priors.choose import Older, Patient, Present, Series

STUDY_ROOT_MOVE: Final = UID("1.2.840.10008.5.1.4.1.2.2.2")
STUDY_ROOT_GET: Final = UID("1.2.840.10008.5.1.4.1.2.2.3")
MESSAGE_ID: Final = 1
"""Of every request here: each has an association of its own, or follows the one before."""
PENDING: Final = (0xFF00, 0xFF01)
SOME_FAILED: Final = 0xB000
CANCEL: Final = 0xFE00
MAX_MATCHES: Final = 500
"""Of one C-FIND; whoever answers more is not asked on."""
SYNTAXES: Final = (
    ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless,
    JPEGLSNearLossless, JPEG2000Lossless, JPEG2000, RLELossless,
)  # fmt: skip
"""What is asked for as it is stored; the default one is proposed beside."""
COMMON: Final = (SecondaryCaptureImageStorage,)
CLASSES: Final = {
    "CT": (CTImageStorage, EnhancedCTImageStorage),
    "MR": (MRImageStorage, EnhancedMRImageStorage),
    "CR": (ComputedRadiographyImageStorage,),
    "DX": (DigitalXRayImageStorageForPresentation, DigitalXRayImageStorageForProcessing),
}
"""SOP classes of the images of a modality: one association carries 128 presentation contexts."""
EVERY: Final = tuple(dict.fromkeys(one for ones in CLASSES.values() for one in ones))
LOOK_S: Final = 0.05
"""Between two looks at how much a C-MOVE has brought."""
HEED_S: Final = 5.0
"""For a source to heed a C-CANCEL; then its association is aborted."""
Take = Callable[[evt.Event], int]
Over = Callable[[], bool]


def remote(source: PriorSource) -> Remote:
    """Give the source as a peer of ours."""
    return Remote(
        source.ae_title,
        source.host,
        source.port,
        source.calling_ae_title,
        source.timeout_s,
        source.tls,
    )


def find_studies(source: PriorSource, present: Present, date_range: str) -> list[Older]:
    """Ask for the patient's studies of a range of dates.

    Raises:
        TryAgain: nobody answers, or not now.
        Broken: the source does not answer such queries (code "refused").
    """
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.PatientID = present.patient.patient_id
    query.StudyDate = date_range
    for keyword in (
        "StudyInstanceUID", "StudyTime", "StudyDescription", "IssuerOfPatientID",
        "PatientBirthDate", "NumberOfStudyRelatedInstances",
    ):  # fmt: skip
        setattr(query, keyword, None)
    return [
        Older(
            study_instance_uid=_text(one, "StudyInstanceUID"),
            study_date=_text(one, "StudyDate"),
            study_time=_text(one, "StudyTime"),
            patient=patient_of(one).of(source.issuer_of_patient_id),
            description=_text(one, "StudyDescription"),
            source=source.name,
            instance_count=_number(one, "NumberOfStudyRelatedInstances"),
        )
        for one in _find(source, query)
    ]


def find_series(source: PriorSource, older: Older) -> list[Series]:
    """Ask for a study's series. Raises as ``find_studies``."""
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = older.study_instance_uid
    for keyword in (
        "SeriesInstanceUID", "Modality", "BodyPartExamined", "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
    ):  # fmt: skip
        setattr(query, keyword, None)
    return [
        Series(
            series_instance_uid=_text(one, "SeriesInstanceUID"),
            modality=_text(one, "Modality"),
            body_part=_text(one, "BodyPartExamined"),
            description=_text(one, "SeriesDescription"),
            instance_count=_number(one, "NumberOfSeriesRelatedInstances"),
        )
        for one in _find(source, query)
    ]


def get(source: PriorSource, older: Older, series: Series, take: Take, within_s: float) -> int:
    """Have a series sent over our own association; gives how many instances did not come.

    Raises:
        TryAgain: nobody answers, out of resources, or it took longer than ``within_s``.
        Broken: the source does not do it (code "refused").
    """
    classes = (*CLASSES.get(series.modality, EVERY), *COMMON)
    wanted: list[Syntaxes] = [(one, syntax) for one in classes for syntax in SYNTAXES]
    wanted.append((STUDY_ROOT_GET, ImplicitVRLittleEndian))
    roles = [build_role(one, scp_role=True) for one in classes]
    handlers = [(evt.EVT_C_STORE, take)]
    with (
        associate(remote(source), wanted, handlers=handlers, roles=roles) as association,
        _aborted_after(association, within_s),
    ):
        answers = association.send_c_get(_series_key(older, series), STUDY_ROOT_GET, MESSAGE_ID)
        return _settled(source, answers)


def move(
    source: PriorSource, older: Older, series: Series, to: str, within_s: float, is_over: Over
) -> int:
    """Have a series sent to our listener under the AE title ``to``. As ``get`` in all else.

    ``is_over`` is asked all the while, by another thread: once it is, the source is told to stop,
    and is left where it does not.
    """
    wanted: list[Syntaxes] = [(STUDY_ROOT_MOVE, ImplicitVRLittleEndian)]
    with (
        associate(remote(source), wanted) as association,
        _aborted_after(association, within_s),
        _stopped_when(association, is_over),
    ):
        answers = association.send_c_move(_series_key(older, series), to, STUDY_ROOT_MOVE)
        return _settled(source, answers)


def patient_of(header: Dataset) -> Patient:
    """Give whom a header, or an answer to a query, names."""
    return Patient(
        _text(header, "PatientID"), _text(header, "IssuerOfPatientID"),
        _text(header, "PatientBirthDate"),
    )  # fmt: skip


def _find(source: PriorSource, query: Dataset) -> list[Dataset]:
    found: list[Dataset] = []
    with associate(remote(source), [(STUDY_ROOT_FIND, ImplicitVRLittleEndian)]) as association:
        for status, match in association.send_c_find(query, STUDY_ROOT_FIND):
            code = status.get("Status")
            if code in PENDING:
                if match is not None and len(found) < MAX_MATCHES:
                    found.append(match)
                continue
            _check(source, code, "C-FIND")
    return found


def _settled(source: PriorSource, answers: Iterator[tuple[Dataset, Dataset | None]]) -> int:
    missing = 0
    for status, _ in answers:
        code = status.get("Status")
        missing = int(status.get("NumberOfFailedSuboperations") or 0)
        if code in PENDING:
            continue
        missing += int(status.get("NumberOfRemainingSuboperations") or 0)
        if code == SOME_FAILED:
            continue
        _check(source, code, "retrieval")
    return missing


def _check(source: PriorSource, code: int | None, what: str) -> None:
    """Sort a final status (PS3.4 Tables C.4-1 to C.4-3)."""
    if code is None:
        msg = f"{source.name}: no answer to the {what}"
        raise AssociationLost(msg)
    if code == SUCCESS:
        return
    if 0xA700 <= code <= 0xA7FF or code == CANCEL:
        msg = f"{source.name} cannot do the {what} now (0x{code:04X})"
        raise TryAgain(msg, status=code)
    detail = f"{source.name} refused the {what} (0x{code:04X})"
    raise Broken(code="refused", detail=detail, status=code)


@contextmanager
def _aborted_after(association: Association, seconds: float) -> Iterator[None]:
    timer = threading.Timer(max(seconds, 0.0), association.abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _stopped_when(association: Association, is_over: Over) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_S):
            if is_over():
                association.send_c_cancel(MESSAGE_ID, query_model=STUDY_ROOT_MOVE)
                if not done.wait(HEED_S):
                    association.abort()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _series_key(older: Older, series: Series) -> Dataset:
    key = Dataset()
    key.QueryRetrieveLevel = "SERIES"
    key.StudyInstanceUID = older.study_instance_uid
    key.SeriesInstanceUID = series.series_instance_uid
    return key


def _text(dataset: Dataset, keyword: str) -> str:
    value: Any = dataset.get(keyword)
    return "" if value is None else "".join(c for c in str(value) if c.isprintable()).strip()


def _number(dataset: Dataset, keyword: str) -> int:
    text = _text(dataset, keyword)
    return int(text) if text.isdecimal() and len(text) < 9 else 0
