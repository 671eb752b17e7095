"""Attention, memory and anchor families are trained by the same command, and get the same card."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from models import artifact
from models.ensemble import Ensemble
from tests.models.chests import healthy, with_opacity
from tests.triage.commands.labelled import write_folder
from triage import settings
from triage.commands.measure import prepare
from triage.commands.train import train
from triage.commands.training_plan import Role, read_pictures, read_training, share_out

PARAMS: dict[str, dict[str, Any]] = {
    "mama-net": {"size_px": 64, "widths": [8, 8, 8], "slots": 16},
    "memmc-mae": {
        "size_px": 64, "width": 16, "depth": 2, "heads": 2, "decoder_width": 16, "decoder_depth": 1,
        "decoder_heads": 2, "memory": 4,
    },
    "simsid": {
        "size_px": 64, "widths": [8, 8, 8], "latent": 8, "slots": [8, 4, 2], "decoder_slots": 4,
    },
    "ensemble": {
        "members": [
            {"family": "anchor", "params": {"widths": [8, 8, 8], "heads": ["density", "padim"]}},
            {"family": "paste-net", "params": {"widths": [8, 8]}},
        ],
        "references": 5,
    },
}  # fmt: skip
FURTHER = {
    "mama-net": {"peak"},
    "memmc-mae": {"top"},
    "simsid": {"features", "memory", "residual"},
    "ensemble": {"anchor", "anchor padim", "paste-net"},
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = [
        *(("a", "train", 0, f"n{i}") for i in range(16)),
        *(("a", "val", 0, f"v{i}") for i in range(24)),
        *(("a", "test", 0, f"h{i}") for i in range(6)),
        *(("a", "test", 1, f"s{i}") for i in range(6)),
    ]
    return write_folder(tmp_path_factory.mktemp("pictures"), lines)


@pytest.mark.parametrize("family", PARAMS)
def test_a_training_packs_an_artifact_that_scores_and_a_card_of_its_family(
    family: str, pictures: Path, tmp_path: Path
) -> None:
    subset = {
        "stratum": "DX/CHEST", "licence": "generated", "train": ["train"], "calibrate": ["val"],
        "test": ["test"],
    }  # fmt: skip
    training = {
        "name": f"small-{family}",
        "version": "1.0.0",
        "family": family,
        "recipe": "chest-radiograph",
        "params": PARAMS[family],
        "data": {"pooled": "DX/CHEST", "held_out": 0.2, "subsets": {"a": subset}},
        "plan": {"epochs": 1, "batch_size": 8},
        "intended_use": "Tests of small families.",
        "limitations": ["Generated pictures."],
    }
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(training))
    found = train(tmp_path / "training.yaml", data=pictures, runs=tmp_path / "runs", device="cpu")
    packed = Path(found["artifact"])
    card = (packed / artifact.README).read_text()
    for said in (f"small-{family} 1.0.0", f"Family `{family}`", "Tests of small families.",
                 "AUROC", "Generated pictures.", "| calibration |"):  # fmt: skip
        assert said in card
    loaded = artifact.load(packed)
    assert loaded.card.evaluations[0].name == "a"
    images = healthy(2, size_px=64)
    scored = loaded.detector.score(with_opacity(images))
    assert scored.score_N.isfinite().all()
    assert set(scored.others) == FURTHER[family]
    assert loaded.calibration.p_value(float(scored.score_N[0]), ("DX/CHEST",)).p > 0
    if isinstance(loaded.detector, Ensemble):
        _refuse_other_references(loaded.detector, tmp_path / "training.yaml", pictures)


def _refuse_other_references(detector: Ensemble, config: Path, pictures: Path) -> None:
    """What is usual was learnt from the pictures that stopped the training, and no others."""
    training = read_training(config)
    shared = share_out(read_pictures(pictures), training.data, training.plan.seed)
    recipe = settings.load().recipes["chest-radiograph"]
    for role, is_it in ((Role.HELD_OUT, True), (Role.TRAIN, False)):
        found = detector.score(prepare(shared[role], recipe).voxels).others["paste-net"]
        shares = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
        close = torch.allclose(detector.healthy_KR[1], found.quantile(shares), rtol=1e-4)
        assert close is is_it, role
