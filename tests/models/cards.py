"""A small, complete card and calibration for artifacts built in tests."""

from collections.abc import Mapping

from models.artifact import Card, Fingerprint, Source
from models.calibrate import Calibration, calibrate

SOURCE = Source(name="generated", images=96, patients=96, licence="none needed")
CALIBRATION: Calibration = calibrate({"DX/CHEST": [i / 100 for i in range(100)]})


def card(family: str = "memae", params: Mapping[str, object] | None = None) -> Card:
    return Card(
        name="generated",
        family=family,
        version="1.0.0",
        params=dict(params or {}),
        recipe={"name": "chest-radiograph"},
        fingerprint=Fingerprint(
            trained_on=(SOURCE,),
            held_out=(SOURCE,),
            calibrated_on=(SOURCE,),
            seed=0,
            plan={},
            epochs=1,
            best_epoch=1,
            data_sha256="0" * 64,
            versions={},
        ),
        evaluations=(),
        intended_use="Tests.",
        limitations=("Generated pictures only.",),
        licences=(),
    )
