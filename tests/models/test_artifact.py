import json
from pathlib import Path

import pytest

from models import artifact
from models.artifact import FILES, MANIFEST, WEIGHTS, BadArtifact
from models.files import sha256
from models.manifest import SIGNATURE
from tests.models.cards import CALIBRATION, card
from tests.models.chests import small_memae


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    detector = small_memae()
    return artifact.save(
        tmp_path / "a", detector, card(params=detector.params), CALIBRATION, "A card.\n"
    )


def test_what_was_saved_is_loaded(folder: Path) -> None:
    loaded = artifact.load(folder)
    assert loaded.calibration == CALIBRATION
    assert loaded.card.name == "generated"
    assert loaded.sha256 == sha256((folder / MANIFEST).read_bytes())
    assert loaded.weights_sha256 == sha256((folder / WEIGHTS).read_bytes())
    assert not loaded.detector.training
    assert not any(parameter.requires_grad for parameter in loaded.detector.parameters())


def test_saving_the_same_again_gives_the_same_bytes(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    detector = small_memae()
    artifact.save(folder, detector, card(params=detector.params), CALIBRATION, "A card.\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_in_any_file_is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BadArtifact, match=name):
        artifact.load(folder)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BadArtifact, match=name):
        artifact.load(folder)


def test_a_file_that_is_not_listed_is_refused(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(b"")
    with pytest.raises(BadArtifact, match=r"model\.pkl"):
        artifact.load(folder)


def test_a_listed_file_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").rename(tmp_path / "elsewhere")
    (folder / "README.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadArtifact, match="no plain file"):
        artifact.load(folder)


@pytest.mark.parametrize("line", ["", "0" * 64 + "  ../outside\n"])
def test_a_manifest_that_lists_other_files_is_refused(folder: Path, line: str) -> None:
    kept = (folder / MANIFEST).read_text().splitlines(keepends=True)[1:]
    (folder / MANIFEST).write_text("".join([*kept, line]))
    with pytest.raises(BadArtifact, match="exactly"):
        artifact.load(folder)


def _rewrite_card(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "card.json").read_text()) | changes
    old = sha256((folder / "card.json").read_bytes())
    (folder / "card.json").write_text(json.dumps(content))
    new = sha256((folder / "card.json").read_bytes())
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace(old, new))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "surprise"),
        ({"version": None}, "version"),
        ({"family": "oracle"}, "unknown detector family"),
        ({"params": {"size_px": 32}}, "do not fit the card"),
        ({"params": {"depth": 3}}, "do not fit the card"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_even_with_right_checksums(
    folder: Path, changes: dict[str, object], message: str
) -> None:
    _rewrite_card(folder, **changes)
    with pytest.raises(BadArtifact, match=message):
        artifact.load(folder)


def test_saving_over_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_bytes(b"")
    with pytest.raises(FileExistsError, match=r"thesis\.doc"):
        artifact.save(tmp_path, small_memae(), card(), CALIBRATION, "")


def test_a_signature_may_lie_beside_and_goes_when_the_artifact_is_written_anew(
    folder: Path,
) -> None:
    (folder / SIGNATURE).write_text("of another judge")
    assert artifact.load(folder).card.name == "generated"
    detector = small_memae()
    artifact.save(folder, detector, card(params=detector.params), CALIBRATION, "Another card.\n")
    assert not (folder / SIGNATURE).exists()
