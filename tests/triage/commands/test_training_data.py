"""Several folders in one training: gathered, checked line by line, prepared, labelled."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.cards import card
from tests.models.chests import healthy, small_memae, with_opacity
from triage import settings
from triage.commands.measure import Prepared, scores
from triage.commands.training_data import gather, labels_of, prepare_roles, strangest
from triage.commands.training_plan import Data, Picture, Role, Subset, Training, share_out
from triage.errors import ConfigError
from triage.settings import PACKAGED, Settings

CHEST: dict[str, Any] = {
    "folder": "chest", "stratum": "DX/CHEST", "licence": "made", "train": ("train",),
    "organ": "chest", "modality": "DX",
}  # fmt: skip
BRAIN: dict[str, Any] = {
    "folder": "brain", "stratum": "MR/HEAD", "licence": "made", "train": ("train",),
    "patient_column": "group", "labels": {"no": "healthy", "yes": "abnormal"},
    "organ": "head", "modality": "MR", "pooled": "MR",
}  # fmt: skip
PARAMS = {"organs": ["chest", "head"], "modalities": ["CT", "DX", "MR"]}


@pytest.fixture
def known(tmp_path: Path) -> Settings:
    return settings.load(tmp_path / "state", PACKAGED)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two folders with different columns."""
    chest = [(f"{i}.png", "chest", "0", "train", f"p{i}") for i in range(12)]
    _folder(tmp_path / "chest", ("path", "subset", "anomaly", "split", "patient"), chest)
    brain = [(f"{i}.png", "no", "train", f"g{i}") for i in range(12)]
    _folder(tmp_path / "brain", ("path", "label", "split", "group"), brain, seed=1)
    return tmp_path


def _folder(
    folder: Path, header: Iterable[str], lines: Sequence[tuple[str, ...]], seed: int = 0
) -> None:
    folder.mkdir()
    for line, picture in zip(lines, healthy(len(lines), seed=seed, size_px=64), strict=True):
        Image.fromarray((picture[0].numpy() * 255).astype(np.uint8)).save(folder / line[0])
    with (folder / "split.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *lines])


def _training(**changes: object) -> Training:
    others = changes.pop("subsets", {})
    assert isinstance(others, dict)
    subsets = {"chest": Subset(**CHEST), "brain": Subset(**BRAIN)} | others
    return Training.model_validate(
        {
            "name": "x", "version": "1", "family": "memae", "params": PARAMS,
            "recipe": "chest-radiograph", "intended_use": "none", "limitations": (),
            "data": Data(subsets=subsets, pooled="ALL", held_out=0.3, calibration=0.3),
            **changes,
        }
    )  # fmt: skip


def _changed(of: dict[str, Any], **changes: object) -> Subset:
    return Subset(**{**of, **changes})


def _shared(training: Training, data: Path) -> dict[Role, tuple[Picture, ...]]:
    return dict(share_out(gather(training, data), training.data, seed=3))


def test_folders_with_their_own_columns_are_gathered_prepared_and_labelled(
    data: Path, known: Settings
) -> None:
    training = _training()
    roles = prepare_roles(_shared(training, data), training, known)
    assert sum(len(prepared.pictures) for prepared in roles.values()) == 24
    taught = roles[Role.TRAIN]
    assert taught.voxels.shape[1:] == (1, 64, 64)
    labels = labels_of(taught.pictures, training)
    assert labels.organ_N is not None
    assert labels.modality_N is not None
    assert labels.organ_N.dtype == torch.int64
    assert labels.organ_N.tolist() == [int(p.subset == "brain") for p in taught.pictures]
    assert labels.modality_N.tolist() == [1 + int(p.subset == "brain") for p in taught.pictures]


def test_a_family_without_lists_of_organs_gets_no_labels(data: Path) -> None:
    training = _training(params={})
    labels = labels_of(gather(training, data), training)
    assert (labels.organ_N, labels.modality_N) == (None, None)


@pytest.mark.parametrize(
    ("subsets", "message"),
    [
        ({"chest": _changed(CHEST, organ=None)}, r"data\.subsets\.chest\.organ: .*chest, head"),
        ({"chest": _changed(CHEST, modality="US")}, r"chest\.modality: .*\(CT, DX, MR\)"),
        ({"chest": _changed(CHEST, train=("trian",))}, r"chest\.train: .* trian; .* are train"),
        ({"ches": _changed(CHEST)}, r"data\.subsets\.ches: no line of .*correct the name"),
        ({"twice": _changed(BRAIN)}, r"line 2: the image stands in .*brain/split\.csv line 2 too"),
    ],
)
def test_a_subset_that_does_not_fit_its_folder_is_named(
    data: Path, subsets: dict[str, Subset], message: str
) -> None:
    training = _training(subsets=subsets)
    with pytest.raises(ConfigError, match=message):
        labels_of(gather(training, data), training)


def _missing(folder: Path) -> None:
    (folder / "3.png").unlink()


def _broken(folder: Path) -> None:
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:150])


def _flat(folder: Path) -> None:
    Image.new("L", (64, 64), 7).save(folder / "3.png")


def _copied(folder: Path) -> None:
    for number in range(12):
        (folder / f"{number}.png").write_bytes((folder / "3.png").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_missing, r"split\.csv line 5: .*3\.png is not there; put it back"),
        (_broken, r"split\.csv line 5: .*3\.png .*mend it, or take the line out"),
        (_flat, r"split\.csv line 5: .*3\.png has no contrast"),
        (_copied, r"split\.csv line \d+ \(.*\) and .*line \d+ \(.*\) hold the same picture"),
    ],
)
def test_a_picture_that_cannot_be_used_is_named_with_its_line(
    data: Path, known: Settings, spoil: Callable[[Path], None], message: str
) -> None:
    training = _training()
    spoil(data / "chest")
    with pytest.raises(ConfigError, match=message):
        prepare_roles(_shared(training, data), training, known)


def test_recipes_of_two_sizes_are_refused(data: Path, known: Settings) -> None:
    training = _training(subsets={"brain": _changed(BRAIN, recipe="brain-mr")})
    with pytest.raises(ConfigError, match="one detector sees one size"):
        prepare_roles(_shared(training, data), training, known)


def test_a_patient_in_two_folders_with_two_roles_is_refused(data: Path) -> None:
    lines = (data / "brain" / "split.csv").read_text().replace("train,g", "test,p")
    (data / "brain" / "split.csv").write_text(lines)
    subset = _changed(BRAIN, train=(), test=("test",))
    with pytest.raises(ConfigError, match=r"chest/split\.csv line \d+ and .*brain/split\.csv"):
        _shared(_training(subsets={"brain": subset}), data)


def test_of_a_series_the_strangest_slice_speaks() -> None:
    detector = small_memae()
    voxels = torch.cat([healthy(3), with_opacity(healthy(1, seed=4)), healthy(2, seed=5)])
    one, other = (Picture(Path(f"{i}"), "a", "train", False, f"p{i}") for i in range(2))
    prepared = Prepared((one, other, one, one, other, other), voxels)
    chosen, found = strangest(detector, prepared)
    each = scores(detector, voxels)
    assert chosen.pictures == (one, other)
    assert found == [max(each[i] for i in (0, 2, 3)), max(each[i] for i in (1, 4, 5))]
    assert scores(detector, chosen.voxels) == pytest.approx(found)


def test_a_study_is_prepared_by_the_recipe_of_its_stratum() -> None:
    described = card().model_copy(
        update={"recipe": {"name": "usual"}, "recipes": {"MR/HEAD": {"name": "mr"}}}
    )
    assert described.recipe_for(("MR/HEAD/adult", "MR/HEAD")) == {"name": "mr"}
    assert described.recipe_for(("DX/CHEST",)) == {"name": "usual"}
