"""Rules of expected series: what meets them, and what is none of their business."""

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import FileDataset

from db.engine import Database
from db.states import StudyState
from tests.builders import dx
from tests.workers.test_evidence import closing, pass_time, settle, site_of, three

CHEST: dict[str, Any] = {"modality": ["DX"], "body_part": ["CHEST"], "quiet_s": 5}


def other(modality: str = "OT", *, number: int = 9, body_part: str = "") -> FileDataset:
    """An instance of the same study in a series of its own."""
    made = dx(study="evidence", instance=number, seed=number)
    made.Modality, made.BodyPartExamined = modality, body_part
    made.SeriesInstanceUID, made.SeriesDescription = f"2.25.{number}", "LATERAL"
    return made


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"min_images": 4}, "3 of at least 4 received"),
        ({"min_series": 2}, "1 of at least 2 series received"),
        ({"descriptions": ["LATERAL"]}, "no series LATERAL received"),
    ],
    ids=["images", "series", "description"],
)
@pytest.mark.parametrize(
    "stray", [{"modality": "OT"}, {"modality": "DX", "body_part": "HAND"}], ids=["OT", "hand"]
)
def test_only_series_that_a_rule_fits_count_for_it(
    sqlite_database: Database,
    tmp_path: Path,
    rule: dict[str, Any],
    said: str,
    stray: dict[str, Any],
) -> None:
    with site_of(sqlite_database, tmp_path, expected=[CHEST | rule]) as site:
        site.receive(*three(), other(**stray))
        pass_time(site, 6)
        assert settle(site).state == StudyState.RECEIVING
        pass_time(site, 600)
        study = settle(site)
        assert (study.state, study.reason_code) == (StudyState.HELD, "study-incomplete")
        assert study.sentence == f"Held. {said[:1].upper()}{said[1:]}."
        site.receive(other("DX", number=10, body_part="CHEST"))
        pass_time(site, 6)
        assert settle(site).state == StudyState.REJECTED
        assert closing(site).kind == "series"


def test_a_rule_that_names_nothing_counts_every_image(
    sqlite_database: Database, tmp_path: Path
) -> None:
    with site_of(sqlite_database, tmp_path, expected=[{"min_images": 4, "quiet_s": 5}]) as site:
        site.receive(*three(), other())
        pass_time(site, 6)
        assert settle(site).state == StudyState.REJECTED
        assert closing(site).kind == "series"
