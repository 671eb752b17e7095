"""Instances on their way in: judged as a received one, of the right patient, and put in place.

By C-GET they come over our own association; by C-MOVE the listener puts them, apart from all
else, where ``arrivals`` takes them. One instance of somebody else's refuses the whole prior.
"""

import warnings
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import evt

from db.engine import Database
from triage import log
from triage.arrival import READ_ERRORS
from triage.errors import Refused
from triage.prior_sources import Priors, PriorSource
from triage.priors import keep, place
from triage.priors.asking import MESSAGE_ID, STUDY_ROOT_GET, patient_of
from triage.priors.choose import Older, Present
from triage.priors.keep import Came
from triage.receive.part10 import Caller, file_header
from triage.receive.scan import Scanned, scan
from triage.receive.storage import MISMATCH, OUT_OF_RESOURCES, SUCCESS, Storage
from triage.settings import Settings
from triage.spool import Spool

HEADER_BYTES: Final = 1_048_576
"""Beyond this no patient is looked for."""
WANTED: Final = (
    "PatientID", "IssuerOfPatientID", "PatientBirthDate", "StudyInstanceUID", "SeriesInstanceUID",
    "SOPInstanceUID", "SOPClassUID", "Modality",
)  # fmt: skip


@dataclass(slots=True)
class Taker:
    """Answers the C-STORE requests of one C-GET."""

    database: Database
    settings: Settings
    spool: Spool
    source: PriorSource
    present: Present
    older: Older
    prior_id: int
    bytes_left: int
    taken: int = 0
    size_bytes: int = 0
    doubt: str = ""
    """Why the prior is refused as a whole."""
    full: str = ""
    """Why no more is taken: "budget", or "disk"."""
    _is_cancelled: bool = False
    _storage: Storage = field(init=False)

    def __post_init__(self) -> None:
        self._storage = Storage(self.spool, self.settings.site.listener)

    def __call__(self, event: evt.Event) -> int:
        """Take one instance; gives the status to answer (PS3.4 Table B.2-1)."""
        request: Any = event.request
        data = request.DataSet.getvalue()
        if self.doubt or self.full or not self._has_room(len(data)):
            self._cancel(event)
            return OUT_OF_RESOURCES
        try:
            return self._take(data, str(event.context.transfer_syntax), event)
        except Refused as why:
            return why.status
        except OSError as why:
            log.get().warning("spool.refused", error=type(why).__name__, errno=why.errno)
            return OUT_OF_RESOURCES

    def _has_room(self, size: int) -> bool:
        if self.size_bytes + size > self.bytes_left:
            self.full = "budget"
        elif not self._storage.has_room():
            self.full = "disk"
        return not self.full

    def _take(self, data: bytes, syntax: str, event: evt.Event) -> int:
        scanned = scan(data, syntax)
        header = file_header(scanned, syntax, self._caller(event))
        draft = place.write(self.spool, header, data)
        facts = read(draft)
        self.doubt = doubt(self.settings.site.priors, self.present, self.older, self.source, facts)
        if self.doubt:
            draft.unlink(missing_ok=True)
            self._cancel(event)
            return MISMATCH
        came = put(self.settings, draft, scanned, syntax, str(facts.get("Modality", "")))
        with self.database.begin() as session:
            self.taken += keep.add(session, self.prior_id, came)
        self.size_bytes += came.size_bytes
        return SUCCESS

    def _cancel(self, event: evt.Event) -> None:
        """Ask the source, once, to send no more; what still comes is answered and dropped."""
        if not self._is_cancelled:
            self._is_cancelled = True
            event.assoc.send_c_cancel(MESSAGE_ID, query_model=STUDY_ROOT_GET)

    def _caller(self, event: evt.Event) -> Caller:
        peer = event.assoc.acceptor
        return Caller(
            self.source.ae_title, self.source.calling_ae_title, str(peer.address or ""),
            int(peer.port or 0), "", 0,
        )  # fmt: skip


def doubt(
    priors: Priors, present: Present, older: Older, source: PriorSource, facts: Dataset
) -> str:
    """Say what speaks against an instance being of the prior; empty when nothing does."""
    if str(facts.get("StudyInstanceUID", "")) != older.study_instance_uid:
        return "other-study"
    theirs = patient_of(facts).of(source.issuer_of_patient_id)
    ours = present.patient.of(source.issuer_of_patient_id)
    return ours.doubt(theirs, birth_date=priors.require_birth_date)


def put(settings: Settings, draft: Path, scanned: Scanned, syntax: str, modality: str) -> Came:
    """Put a judged draft in its place."""
    sha256, final = place.keep(settings.spool, draft, settings.readers)
    return Came(
        scanned.sop_instance_uid, scanned.sop_class_uid, scanned.series_instance_uid, syntax,
        modality, sha256, final.stat().st_size,
    )  # fmt: skip


def read(path: Path) -> Dataset:
    """Read what identity is judged by; empty where it is no DICOM that can be read.

    Raises:
        OSError: the disk does not give it now, which says nothing of whose it is.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote the values they doubt
            found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(WANTED))
            for keyword in WANTED:
                found.get(keyword)
            return found
    except READ_ERRORS as why:
        if isinstance(why, OSError) and why.errno:
            raise
    return pydicom.FileDataset(BytesIO(), Dataset(), file_meta=pydicom.dataset.FileMetaDataset())
