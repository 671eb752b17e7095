"""A site that trusts a key analyses with what that key signed, and says why where it does not."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from db.engine import Database
from db.states import StudyState
from db.tables import AuditRow, DetectionRow
from tests.builders import dx
from tests.triage.keyring import known, private
from tests.workers.house import House, house
from triage.errors import NotEligible
from triage.sshsig import sign
from triage.trust import MANIFEST, NAMESPACE, SIGNATURE
from workers.bench import Bench

NAME = "chest-radiograph-memae"
TRUST = {"artifact_keys": [known("ours").line]}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@contextmanager
def site_of(database: Database, state: Path) -> Iterator[House]:
    with house(database, state, trust=TRUST) as site:
        yield site


def install(site: House, name: str = NAME) -> Path:
    [own, zoo] = site.settings.artifacts
    shutil.copytree(zoo / NAME, own / name)
    return own / name


def signed(folder: Path, by: str) -> None:
    text = sign(private(by), (folder / MANIFEST).read_bytes(), NAMESPACE)
    (folder / SIGNATURE).write_text(text)


def refusals(site: House) -> list[AuditRow]:
    return [row for row in site.rows(AuditRow) if row.event_type == "artifact.refused"]


def test_an_unsigned_detector_is_a_coded_reason_and_an_audit_row_and_nothing_is_lost(
    database: Database, tmp_path: Path
) -> None:
    with site_of(database, tmp_path) as site:
        site.receive(dx(rows=128))
        study = site.work()
        assert (study.outcome, study.reason_code) == ("not analysed", "untrusted-detector")
        assert study.state == StudyState.REJECTED
        assert study.reason_detail is not None
        assert "unsigned: checksums only" in study.reason_detail
        [row] = refusals(site)
        assert (row.object_id, row.outcome, row.event_id) == (NAME, 8, "110113")
        assert json.loads(row.detail)["reason"] == "untrusted-detector"
        told = [one for one in site.rows(AuditRow) if one.event_type == "study.not-analysed"]
        assert json.loads(told[0].detail)["reason"] == "untrusted-detector"


def test_a_signed_detector_analyses_and_need_not_lie_where_one_may_write(
    database: Database, tmp_path: Path
) -> None:
    with site_of(database, tmp_path) as site:
        [own, zoo] = site.settings.artifacts
        own.mkdir()
        text = sign(private("ours"), (zoo / NAME / MANIFEST).read_bytes(), NAMESPACE)
        (own / f"{NAME}.sig").write_text(text)
        site.receive(dx(rows=128))
        study = site.work()
        assert study.outcome in {"prioritised", "not prioritised"}
        assert len(site.rows(DetectionRow)) == 1
        assert refusals(site) == []


def test_what_is_mended_is_used_without_another_start_and_a_start_says_what_is_refused(
    database: Database, tmp_path: Path
) -> None:
    with site_of(database, tmp_path) as site:
        folder = install(site)
        signed(folder, "theirs")
        site.worker.warm()
        site.worker.warm()
        [row] = refusals(site)
        assert "not trusted here" in row.detail
        signed(folder, "ours")
        assert site.worker.bench.artifact(NAME).card.name == NAME
        assert site.worker.bench.refused == {}


def test_a_changed_manifest_is_refused_though_every_checksum_holds(
    database: Database, tmp_path: Path
) -> None:
    from models.files import sha256

    with site_of(database, tmp_path) as site:
        folder = install(site)
        signed(folder, "ours")
        readme = folder / "README.md"
        before = sha256(readme.read_bytes())
        readme.write_text("Better than it is.\n")
        manifest = folder / MANIFEST
        manifest.write_text(manifest.read_text().replace(before, sha256(readme.read_bytes())))
        with pytest.raises(NotEligible, match="signature wrong"):
            site.worker.bench.artifact(NAME)


def test_a_signed_detector_under_another_one_s_name_is_refused(
    database: Database, tmp_path: Path
) -> None:
    with site_of(database, tmp_path) as site:
        signed(install(site, "head-ct-something"), "ours")
        with pytest.raises(NotEligible, match="another name"):
            site.worker.bench.artifact("head-ct-something")


def test_files_exchanged_behind_the_signature_s_back_are_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triage import trust

    with site_of(database, tmp_path) as site:
        folder = install(site)
        signed(folder, "ours")
        looked = trust.require

        def then_exchanged(*given: object) -> trust.Seal | None:
            seal = looked(*given)  # type: ignore[arg-type] # handed on as it came
            manifest = folder / MANIFEST
            manifest.write_text("".join(reversed(manifest.read_text().splitlines(keepends=True))))
            return seal

        monkeypatch.setattr(trust, "require", then_exchanged)
        with pytest.raises(NotEligible, match="changed while they were read"):
            site.worker.bench.artifact(NAME)


def test_without_a_trusted_key_the_checksums_suffice(tmp_path: Path) -> None:
    from triage import settings as configuration

    assert Bench(configuration.load(tmp_path)).artifact(NAME).card.name == NAME
