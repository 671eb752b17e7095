"""Studies with images of known pixels, stored and listed as the ingestor leaves them."""

from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from pydicom import FileDataset
from pydicom.uid import UltrasoundMultiFrameImageStorage
from sqlalchemy import select

from db.engine import Database, now
from db.priors import PriorRow
from db.runs import MapRow
from db.tables import StudyRow
from tests.triage.files import Pixels, image
from tests.triage.worklist.builders import add_result
from triage import maps
from triage.ingest import ingest_all
from triage.settings import Settings
from triage.spool import Spool

NUMBERS = count(1)
SIDE = 64


def ramp(number: int, side: int = SIDE) -> Pixels:
    """Give pixels from -1000 to 1000, another slope for each number."""
    line = np.linspace(-1000, 1000, side)
    return np.rint(line[None, :] + number * line[:, None] / 10).clip(-1024, 3000).astype(np.int16)


def uid() -> str:
    return f"2.25.{10**9 + next(NUMBERS)}"


def ct(slices: int, *, side: int = SIDE, **elements: object) -> list[FileDataset]:
    """Build a CT series; slices lie 2.5 mm apart and are numbered against their places."""
    given = {
        "StudyInstanceUID": uid(), "SeriesInstanceUID": uid(), "SeriesNumber": 1,
        "SeriesDescription": "HEAD", "PixelSpacing": [0.5, 0.5], "PatientName": "DOE^JANE",
        "RescaleSlope": 1, "RescaleIntercept": 0, "WindowCenter": 40, "WindowWidth": 400,
    }  # fmt: skip
    return [
        image(
            "CT", ramp(at, side), number=at + 1, SOPInstanceUID=uid(), InstanceNumber=at + 1,
            ImagePositionPatient=[0.0, 0.0, -2.5 * at],
            ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0], **(given | elements),
        )
        for at in range(slices)
    ]  # fmt: skip


def colour(frames: int, rows: int = 24, columns: int = 32) -> FileDataset:
    """Build an ultrasound cine: each frame is one plain colour, (10 n, 20, 200)."""
    shown = np.zeros((frames, rows, columns, 3), np.uint8)
    for at in range(frames):
        shown[at] = (10 * at, 20, 200)
    built = image("MR", np.zeros((rows, columns), np.uint16), SOPInstanceUID=uid())
    built.SOPClassUID = UltrasoundMultiFrameImageStorage
    built.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    built.Modality, built.StudyInstanceUID, built.SeriesInstanceUID = "US", uid(), uid()
    built.NumberOfFrames, built.SamplesPerPixel, built.PlanarConfiguration = frames, 3, 0
    built.PhotometricInterpretation, built.FrameTime = "RGB", "40"
    built.BitsAllocated = built.BitsStored = 8
    built.HighBit, built.PixelRepresentation = 7, 0
    built.PixelData = shown.tobytes()
    return built


def receive(settings: Settings, rows: Database, built: Iterable[FileDataset]) -> int:
    """Put one study's files where the listener puts them, index them; give the study's number."""
    spool, study_uid = Spool(settings.spool), ""
    for one in built:
        path = settings.state / f"{uid()}.dcm"
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        one.save_as(path, enforce_file_format=True)
        spool.write(path.read_bytes())
        path.unlink()
        study_uid = str(one.StudyInstanceUID)
    ingest_all(rows, spool, settings.site.completeness)
    with rows.begin() as session:
        study = session.scalars(select(StudyRow).where(StudyRow.study_instance_uid == study_uid))
        return study.one().id


def judged(rows: Database, study_id: int, priority: int = 2) -> int:
    """Prioritise a study; gives the decisive detection's number."""
    with rows.begin() as session:
        study = session.get_one(StudyRow, study_id)
        study.generation, study.outcome, study.priority = 1, "prioritised", priority
        study.priority_name, study.rank, study.score = "high", 0.9868, 0.25
        study.sentence = "At least as unusual as 493 of 500 healthy studies of CT/HEAD/adult."
        return add_result(session, study).id


def prior_of(rows: Database, study_id: int, older_id: int, state: str = "here") -> int:
    """Say that a study of ours is another one's prior; gives the prior's number."""
    with rows.begin() as session:
        at = now(session)
        older = session.get_one(StudyRow, older_id)
        row = PriorRow(
            study_id=study_id, study_instance_uid=older.study_instance_uid, source="",
            state=state, study_date="20240102", modality="CT", body_part="HEAD", asked_at=at,
            open_until=at,
        )  # fmt: skip
        session.add(row)
        session.flush()
        return row.id


def in_research(settings: Settings) -> Settings:
    """Give the settings of a site in research mode."""
    use = settings.site.intended_use.model_copy(update={"mode": "research"})
    site = settings.site.model_copy(update={"intended_use": use})
    return settings.model_copy(update={"site": site})


def stored(settings: Settings, sha256: str) -> Path:
    """Give where a stored file is."""
    return settings.spool / "store" / sha256[:2] / f"{sha256}.dcm"


def references() -> maps.Alike:
    """Give three small pictures that are said to look alike."""
    thumbs = np.stack([np.full((16, 16), 60 * place, np.uint8) for place in (1, 2, 3)])
    distances = np.asarray([0.5, 0.75, 1.25], np.float32)
    return maps.Alike(np.full((16, 16), 250, np.uint8), thumbs, distances, 0.625)


def with_map(
    settings: Settings, rows: Database, *, side: int = 8, healthy: Sequence[float] = (),
    alike: maps.Alike | None = None,
) -> tuple[int, str]:  # fmt: skip
    """Receive a slice whose decisive detection has a map that is hot in one corner.

    Its highest value there is 4, in the opposite corner 1; ``healthy`` are those of healthy maps.
    """
    [built] = ct(1)
    study = receive(settings, rows, [built])
    detection = judged(rows, study)
    values = np.zeros((1, side, side), np.float32)
    values[0, :2, :2], values[0, -1, -1] = 4.0, 1.0
    ratio = SIDE / side
    matrix = np.diag([1.0, ratio, ratio, 1.0])
    matrix[1:3, 3] = (ratio - 1) / 2
    frames = ((built.SOPInstanceUID, 1),)
    one = maps.AnomalyMap(values, matrix[None], frames, np.asarray(healthy, np.float32), alike)
    with rows.begin() as session:
        session.add(MapRow(detection_id=detection, sha256=maps.keep(one, settings.results)))
    return study, str(built.SOPInstanceUID)
