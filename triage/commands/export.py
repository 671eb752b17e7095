"""``triage deidentify``: studies and our results about them as files that name nobody."""

import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import Entry, Event, record
from db.engine import Database
from db.tables import InstanceRow, OutboxRow, StudyRow
from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from triage.commands.deidentify import NotSafe, Pseudonyms, deidentify
from triage.commands.study import find
from triage.errors import ConfigError
from triage.keys import site_key
from triage.outputs.tidy import quiet
from triage.settings import Settings
from triage.spool import stored_path

EXPORT_KEY: Final = "export.key"
"""Of the pseudonyms: the same key gives the same ones, so that two exports of one patient agree."""
MAY_SHOW_WORDS: Final = frozenset({"US", "SC", "OT", "XC", "ES", "XA", "RF", "IVUS", "GM"})
"""Modalities whose pictures often hold words; without a statement in the header, one is warned."""
HEADS: Final = ("HEAD", "BRAIN", "SKULL", "FACE", "NECK", "IAC", "EAR", "ORBIT")


@dataclass(slots=True)
class Exported:
    """What an export came to; internal numbers alone."""

    files: int = 0
    left_out: list[str] = field(default_factory=list)
    warnings: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Item:
    """One instance: where it is from, and whether we wrote it."""

    study: int
    name: str
    """For messages: the row it comes from."""
    source: Path | BytesIO
    ours: bool


def export(
    settings: Settings, database: Database, studies: Sequence[str], out: Path, *, actor: str
) -> Exported:
    """Write the studies, de-identified, into a new folder; audited as an export (DCM 110106).

    Nothing stands in ``out`` before its audit row is committed.

    Raises:
        ConfigError: the folder is there already, or cannot be made.
        NoSuchStudy: one of them is not known.
    """
    if out.exists():
        msg = f"{out} is there already; name a folder that is not"
        raise ConfigError(msg)
    names, done = Pseudonyms(site_key(settings.secrets, EXPORT_KEY)), Exported()
    draft = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    try:
        draft.mkdir(parents=True, mode=0o700)
    except OSError as why:
        msg = f"{out} cannot be made: {why.strerror}"
        raise ConfigError(msg) from None
    try:
        with database.reading() as session:
            rows = [find(session, one) for one in dict.fromkeys(studies)]
            for item in _items(session, rows, settings.spool):
                _write(item, names, draft, done)
        with database.begin() as session:
            for row in rows:
                record(session, _entry(row, done, actor))
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return done


def _items(session: Session, rows: Sequence[StudyRow], spool: Path) -> Iterator[_Item]:
    """Give what was received for these studies, then what we wrote about them, each once."""
    for study in rows:
        instances = select(InstanceRow).where(InstanceRow.study_id == study.id)
        for one in session.scalars(instances.order_by(InstanceRow.id)):
            path = stored_path(spool, one.sha256)
            yield _Item(study.id, f"instance {one.id}", path, ours=False)
        seen = set()
        documents = select(OutboxRow).where(
            OutboxRow.study_id == study.id, OutboxRow.purged_at.is_(None)
        )
        for document in session.scalars(documents.order_by(OutboxRow.id)):
            if document.sop_class_uid and document.sop_instance_uid not in seen:
                seen.add(document.sop_instance_uid)
                content = BytesIO(document.content)
                yield _Item(study.id, f"document {document.id}", content, ours=True)


def _write(item: _Item, names: Pseudonyms, draft: Path, done: Exported) -> None:
    try:
        dataset = pydicom.dcmread(item.source)
    except (InvalidDicomError, OSError):
        if not item.ours:  # what is no DICOM among ours is a message: HL7, FHIR, mail
            done.left_out.append(f"{item.name}: its file cannot be read")
        return
    _warn(dataset, done)
    try:
        with quiet():
            patient = deidentify(dataset, names, ours=item.ours)
    except NotSafe as why:
        done.left_out.append(f"{item.name}: {why}")
        return
    folder = draft / patient / f"study-{item.study}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    done.files += 1
    _with_new_meta(dataset)
    path = folder / f"{done.files:06}.dcm"
    path.touch(mode=0o600)
    with quiet():
        dataset.save_as(path, enforce_file_format=True, overwrite=True)


def _with_new_meta(dataset: Dataset) -> None:
    """Make the file's own header anew: the old one tells who sent it, and to whom."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(dataset.file_meta.TransferSyntaxUID)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128


def _warn(dataset: Dataset, done: Exported) -> None:
    """Tell what a header alone cannot make safe: words in pixels, and faces."""
    modality = str(dataset.get("Modality") or "")
    if modality in MAY_SHOW_WORDS and not dataset.get("BurnedInAnnotation"):
        done.warnings.add(f"{modality}: no header says whether its pixels hold words; look at it")
    part = str(dataset.get("BodyPartExamined") or "").upper()
    if modality in {"CT", "MR", "PT"} and part.startswith(HEADS):
        done.warnings.add(f"{modality} of a head: a face can be drawn from it; deface it first")


def _entry(study: StudyRow, done: Exported, actor: str) -> Entry:
    return Entry(
        event=Event.EXPORT,
        kind="study.deidentified",
        action="R",
        actor=actor,
        object_type="study",
        object_id=study.study_instance_uid,
        detail={"anonymized": True, "files": done.files, "left_out": len(done.left_out)},
    )
