"""The objects that this configuration creates, described by building one of each.

A study of three made-up slices goes through ``assemble.read`` and every row of OUTPUTS, so the
annexes name the attributes, templates and codes that really leave, whatever a new release adds.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from triage import maps, outputs
from triage.assemble import read
from triage.errors import TriageError
from triage.finding import Assessment, Calibration, Decision, Detection, Detector, Document, Outcome
from triage.outputs import codes, feedback_report, feedback_tree, rejection_note
from triage.outputs.assessed import REASONS, Verdict, Word, tracked
from triage.outputs.context import ReportContext
from triage.outputs.feedback_report import Reader
from triage.settings import Settings
from triage.spool import digest
from triage.study import InstanceRef, Study, StudyRef

SLICES: Final = 3
PIXELS: Final = 16
SCHEME_DESIGNATOR: Final = 0x00080102
_SEED: Final = "conformance "


@dataclass(frozen=True, slots=True)
class Made:
    """One kind of object as it leaves."""

    document: Document
    data_set: Dataset | None
    """None for what is no DICOM object."""

    @property
    def transfer_syntax_uid(self) -> str:
        """Give the file's transfer syntax; empty for what is no DICOM object."""
        return "" if self.data_set is None else str(self.data_set.file_meta.TransferSyntaxUID)


def specimens(settings: Settings) -> dict[str, Made]:
    """Build one object of every kind that may leave in the configured mode."""
    with tempfile.TemporaryDirectory() as folder:
        study = _study(Path(folder))
        context = _context(settings, Path(folder))
        assessment = _assessment(study, Path(folder))
        found = {}
        for kind in outputs.OUTPUTS:
            output = outputs.load(kind)
            try:
                document = output.build(assessment, context)
                output.check(document, assessment, context)
            except TriageError:  # not in this mode
                continue
            found[kind] = _made(document)
    if "structured_report" in found:
        report = found["structured_report"].document
        title = next(iter(rejection_note.TITLES))
        note = rejection_note.build([report], title, "Made up", context)
        found[rejection_note.KIND] = _made(note)
        words = [Word(Verdict.AGREE, "", one.tracking_uid) for one in tracked(report)]
        reader = Reader("example", context.now, 1)
        said = feedback_report.build(words, reader, report, context)
        found[feedback_report.KIND] = _made(said)
    return found


def attributes(data_set: Dataset) -> list[dict[str, str]]:
    """Give every attribute outside sequences and pixels: tag, name, VR, and whether it is empty."""
    return [
        {
            "tag": str(element.tag),
            "name": element.name,
            "vr": element.VR,
            "presence": "empty" if element.is_empty else "present",
        }
        for element in data_set
        if element.tag.group != 0x7FE0
    ]


def templates(data_set: Dataset) -> list[str]:
    """Give the templates that the content tree names (Content Template Sequence), in its order."""
    named = (
        f"TID {template.TemplateIdentifier}"
        for item in [data_set, *_items(data_set)]
        for template in item.get("ContentTemplateSequence", ())
    )
    return list(dict.fromkeys(named))


def schemes(data_set: Dataset) -> list[str]:
    """Give the coding schemes whose codes occur anywhere in an object."""
    return sorted({str(one.value) for one in data_set.iterall() if one.tag == SCHEME_DESIGNATOR})


def private_codes() -> list[Code]:
    """Give every code of our own scheme, by the tables that the objects are written from."""
    found = {word.upper(): Code(word.upper(), codes.SCHEME, said) for word, said in REASONS.items()}
    for value in (*vars(codes).values(), *vars(feedback_tree).values()):
        members = value.values() if isinstance(value, Mapping) else [value]
        for code in members:
            if isinstance(code, Code) and code.scheme_designator == codes.SCHEME:
                found.setdefault(code.value, code)
    return sorted(found.values(), key=lambda code: code.value)


def _items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _items(child)


def _made(document: Document) -> Made:
    if not document.sop_class_uid:
        return Made(document, None)
    return Made(document, pydicom.dcmread(BytesIO(document.content)))


def _context(settings: Settings, folder: Path) -> ReportContext:
    site = settings.site
    return ReportContext(
        site_key=hashlib.sha256(_SEED.encode()).digest(),
        reporting=site.reporting,
        mode=site.intended_use.mode,
        version=version("triage"),
        now=datetime.now(UTC),
        results=folder,
    )


def _assessment(study: Study, folder: Path) -> Assessment:
    [series] = study.series
    uids = tuple(image.ref.sop_instance_uid for image in series.images)
    values = np.zeros((SLICES, PIXELS, PIXELS), np.float32)
    values[1, 4:8, 4:8] = 1.0
    frames = tuple((uid, 1) for uid in uids)
    kept = maps.keep(maps.AnomalyMap(values, np.eye(4)[None], frames), folder)
    detection = Detection(
        detector=Detector("example", "example", "1.0.0", "0" * 64, "0" * 64),
        calibration=Calibration("CT", 100, (), "0" * 64),
        series_instance_uid=series.series_instance_uid,
        sop_instance_uids=uids,
        key_sop_instance_uid=uids[1],
        score=1.0,
        p_value=0.01,
        map_sha256=kept,
    )
    decision = Decision(Outcome.PRIORITISED, 1, "high", "An example.", detection)
    return Assessment(study, (detection,), decision)


def _study(folder: Path) -> Study:
    refs = []
    for number in range(SLICES):
        path = folder / f"{number}.dcm"
        _slice(number).save_as(path, enforce_file_format=True)
        uid = generate_uid(entropy_srcs=[_SEED, str(number)])
        refs.append(InstanceRef(str(uid), digest(path), path))
    study_uid = str(generate_uid(entropy_srcs=[_SEED, "study"]))
    return read(StudyRef(0, study_uid, 1, "an example", tuple(refs)))


def _slice(number: int) -> Dataset:
    given: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(entropy_srcs=[_SEED, str(number)]),
        "StudyInstanceUID": generate_uid(entropy_srcs=[_SEED, "study"]),
        "SeriesInstanceUID": generate_uid(entropy_srcs=[_SEED, "series"]),
        "FrameOfReferenceUID": generate_uid(entropy_srcs=[_SEED, "frame of reference"]),
        "PatientID": "EXAMPLE", "PatientName": "Example", "Modality": "CT", "AccessionNumber": "1",
        "StudyDate": "20260101", "StudyTime": "120000", "InstanceNumber": number + 1,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "BodyPartExamined": "CHEST",
        "ImagePositionPatient": [0, 0, number], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1, 1], "SliceThickness": 1, "Rows": PIXELS, "Columns": PIXELS,
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16,
        "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0, "RescaleSlope": 1,
        "RescaleIntercept": 0, "PixelData": bytes(2 * PIXELS * PIXELS),
    }  # fmt: skip
    image = Dataset()
    for keyword, value in given.items():
        setattr(image, keyword, value)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image
