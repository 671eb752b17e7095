"""What leaves for research names nobody, and what refers to what stays the same."""

import subprocess
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from highdicom.sr import srread
from pydicom.dataset import Dataset

from db.engine import connect
from tests.builders import spooled
from tests.path.canaries import MARK, marked
from tests.servers import binary
from tests.triage.commands.cli import triage, write_site
from tests.triage.outputs import received, studies
from triage import outputs
from triage.commands.common import FAILED, OK, SETUP
from triage.commands.deidentify import REMOVED, NotSafe, Pseudonyms, deidentify
from triage.ingest import ingest_all
from triage.outputs.tidy import quiet
from triage.settings import Completeness
from triage.spool import Spool

KEY = bytes(range(32))
KINDS = ("structured_report", "key_objects", "presentation_state", "segmentation", "parametric_map")
COMPANIONS = {"segmentation", "parametric_map"}


def uids(dataset: Dataset, *keywords: str) -> set[str]:
    """Give every value of these attributes, at any depth."""
    return {str(one.value) for one in dataset.iterall() if one.keyword in keywords}


def held(dataset: Dataset) -> bytes:
    """Give it as a file, whose own header is the export's to make."""
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class TestOneDataSet:
    def test_no_canary_is_left_in_any_text_sequence_or_private_element(self) -> None:
        dataset = marked(1, study="out", rows=16)
        assert held(dataset).count(MARK.encode()) > 200
        deidentify(dataset, Pseudonyms(KEY), ours=False)
        assert MARK.encode() not in held(dataset)
        assert "19310203" not in str(dataset)
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"

    def test_pixels_and_geometry_stay(self) -> None:
        dataset = marked(1, study="out", rows=16)
        pixels, rows = bytes(dataset.PixelData), dataset.Rows
        deidentify(dataset, Pseudonyms(KEY), ours=False)
        assert (bytes(dataset.PixelData), dataset.Rows) == (pixels, rows)
        assert dataset.Modality == "DX"

    def test_a_standard_code_stays_and_a_local_one_goes(self) -> None:
        dataset = marked(1, study="out", rows=16)
        items = []
        for scheme, meaning in (("SCT", "Chest"), ("99LOCAL", f"{MARK} of the ward")):
            item = Dataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", scheme, meaning
            items.append(item)
        dataset.AnatomicRegionSequence = items
        deidentify(dataset, Pseudonyms(KEY), ours=False)
        meanings = [one.CodeMeaning for one in dataset.AnatomicRegionSequence]
        assert meanings == ["Chest", REMOVED]

    def test_the_same_patient_and_uid_become_the_same_again_and_another_key_gives_others(
        self,
    ) -> None:
        one, other = Pseudonyms(KEY), Pseudonyms(KEY[::-1])
        assert one.uid("1.2.3") == one.uid("1.2.3") != one.uid("1.2.4")
        assert one.patient("1", "A") != one.patient("1", "B")
        assert one.uid("1.2.3") != other.uid("1.2.3")
        assert one.patient("1", "A") != other.patient("1", "A")
        assert len(one.uid("1.2.3")) <= 64

    def test_uids_of_the_standard_stay(self) -> None:
        dataset = marked(1, study="out", rows=16)
        sop_class = dataset.SOPClassUID
        deidentify(dataset, Pseudonyms(KEY), ours=False)
        assert dataset.SOPClassUID == sop_class

    @pytest.mark.parametrize(
        ("keyword", "value"),
        [("BurnedInAnnotation", "YES"), ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.104.1")],
    )
    def test_what_cannot_be_made_safe_is_refused(self, keyword: str, value: str) -> None:
        dataset = marked(1, study="out", rows=16)
        setattr(dataset, keyword, value)
        with pytest.raises(NotSafe, match="leave it out"):
            deidentify(dataset, Pseudonyms(KEY), ours=False)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Give our results about a picture full of canaries, and that picture."""
    folder = tmp_path_factory.mktemp("documents")
    path = folder / "1.dcm"
    marked(1, study="out", rows=64).save_as(path, enforce_file_format=True)
    assessment = received.assessed([path], folder)
    assert assessment is not None
    given = studies.context("research", results=folder, companions=frozenset(COMPANIONS))
    made = {kind: outputs.load(kind).build(assessment, given).content for kind in KINDS}
    return {"image": path.read_bytes(), **made}


def cleaned(documents: dict[str, bytes]) -> dict[str, Dataset]:
    found: dict[str, Dataset] = {}
    for kind, content in documents.items():
        dataset = pydicom.dcmread(BytesIO(content))
        with quiet():
            deidentify(dataset, Pseudonyms(KEY), ours=kind != "image")
        found[kind] = dataset
    return found


class TestOurResults:
    def test_no_canary_is_left_in_them(self, documents: dict[str, bytes]) -> None:
        for kind, dataset in cleaned(documents).items():
            assert MARK.encode() in documents[kind], kind
            assert MARK.encode() not in held(dataset), kind

    def test_they_still_refer_to_the_image(self, documents: dict[str, bytes]) -> None:
        made = cleaned(documents)
        image = made.pop("image")
        for kind, dataset in made.items():
            assert dataset.StudyInstanceUID == image.StudyInstanceUID, kind
            assert dataset.PatientID == image.PatientID, kind
            assert image.SOPInstanceUID in uids(dataset, "ReferencedSOPInstanceUID"), kind
            assert image.SeriesInstanceUID in uids(dataset, "SeriesInstanceUID"), kind

    def test_no_uid_of_before_is_left(self, documents: dict[str, bytes]) -> None:
        image = pydicom.dcmread(BytesIO(documents["image"]))
        before = (image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID)
        for kind, dataset in cleaned(documents).items():
            assert not [one for one in before if one.encode() in held(dataset)], kind

    def test_the_report_can_be_read_and_says_what_it_said(
        self, documents: dict[str, bytes], tmp_path: Path
    ) -> None:
        dataset = cleaned(documents)["structured_report"]
        path = tmp_path / "report.dcm"
        path.write_bytes(held(dataset))
        texts = {str(one.value) for one in srread(path).iterall() if one.keyword == "TextValue"}
        assert any("412 healthy studies" in text for text in texts)
        judged = subprocess.run(
            [binary("dciodvfy", "/usr/bin"), path], capture_output=True, text=True, check=False
        )
        assert "Error" not in judged.stderr + judged.stdout


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A state folder with one study, of two patients' pictures, and a report about it."""
    state = tmp_path / "state"
    write_site(state)
    triage("db", "upgrade", "--state", state)
    spool, database = Spool(state / "spool"), connect(f"sqlite:///{state / 'triage.sqlite'}")
    spooled(spool, marked(1, study="one", rows=16), marked(2, study="two", rows=16))
    ingest_all(database, spool, Completeness())
    database.dispose()
    return state


class TestCommand:
    def test_it_writes_a_folder_that_names_nobody_and_is_audited(
        self, site: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        answer = triage("deidentify", "1", "2", "1", "--out", out, "--state", site, "--json")
        assert (answer.code, answer.json["files"]) == (OK, 2)
        files = sorted(out.rglob("*.dcm"))
        assert len(files) == 2
        for path in files:
            assert MARK.encode() not in path.read_bytes()
            assert path.stat().st_mode & 0o077 == 0
            assert pydicom.dcmread(path).PatientIdentityRemoved == "YES"
        assert MARK not in " ".join(map(str, out.rglob("*")))
        rows = triage("audit", "query", "--event", "110106", "--state", site, "--json").json
        assert [one["event_type"] for one in rows] == ["study.deidentified"] * 2
        assert '"anonymized": true' in str(rows[0]["detail"]).replace("True", "true").replace(
            "'", '"'
        )

    def test_two_exports_agree_on_who_is_who(self, site: Path, tmp_path: Path) -> None:
        for name in ("a", "b"):
            assert triage("deidentify", "1", "--out", tmp_path / name, "--state", site).code == OK
        first, second = (
            pydicom.dcmread(next((tmp_path / name).rglob("*.dcm"))) for name in ("a", "b")
        )
        assert (first.PatientID, first.SOPInstanceUID) == (second.PatientID, second.SOPInstanceUID)

    def test_what_is_there_is_not_written_over(self, site: Path, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        answer = triage("deidentify", "1", "--out", tmp_path / "there", "--state", site)
        assert answer.code == SETUP
        assert "is there already" in answer.err

    def test_a_picture_with_words_in_it_is_left_out_and_told(
        self, site: Path, tmp_path: Path
    ) -> None:
        for path in (site / "spool" / "store").rglob("*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.BurnedInAnnotation = "YES"
            dataset.save_as(path)
        answer = triage("deidentify", "1", "--out", tmp_path / "out", "--state", site)
        assert answer.code == FAILED
        assert "Burned In Annotation says YES" in answer.err
        assert not list((tmp_path / "out").rglob("*.dcm"))

    def test_an_unknown_study_leaves_nothing_behind(self, site: Path, tmp_path: Path) -> None:
        answer = triage("deidentify", "1", "99", "--out", tmp_path / "out", "--state", site)
        assert answer.code == SETUP
        assert {path.name for path in tmp_path.iterdir()} == {"state"}
