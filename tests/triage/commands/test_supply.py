"""What is installed is what was released, in sound versions, under licences that we may ship."""

import hashlib
import json
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.triage.commands.cli import triage
from triage.commands import advisories, installed, sbom
from triage.commands.installed import Package
from triage.errors import ConfigError

ROOT = Path(__file__).parents[3]
WEAK = (
    Package("starlette", "0.48.0", "BSD-3-Clause"),
    Package("pydicom", "3.0.1", "MIT License"),
    Package("pynetdicom", "3.0.3", "MIT License"),
    Package("torch", "2.9.1+cpu", "BSD-3-Clause"),
    Package("python-multipart", "0.0.25", "Apache-2.0"),
    Package("monai", "1.5.1", "Apache-2.0"),
    Package("starlette", "not-a-version", "BSD-3-Clause"),
)
COPYLEFT = ("GPL", "GNU", "SSPL", "BUSL", "EUPL", "CDDL", "Non-Commercial")
NAMED_EXCEPTIONS = {
    "ldap3": "GNU Lesser General Public License v3 (LGPLv3)",
    "psycopg": "LGPL-3.0-only",
    "psycopg-binary": "LGPL-3.0-only",
}
"""Of extras alone: a library under the LGPL that is imported, unchanged, and may be replaced."""


@pytest.fixture(scope="module")
def found() -> list[Package]:
    return installed.packages()


class TestBill:
    def test_it_is_cyclonedx_by_the_schema(self, found: list[Package]) -> None:
        text = json.dumps(sbom.bill(found))
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None

    def test_it_lists_what_the_program_needs(self, found: list[Package]) -> None:
        listed = {one["name"] for one in sbom.bill(found)["components"]}
        assert {"torch", "pydicom", "pynetdicom", "celery", "starlette"} <= installed.needed()
        assert installed.needed() - listed == set()

    def test_the_same_environment_gives_the_same_serial_number(self, found: list[Package]) -> None:
        one, other = sbom.bill(found), sbom.bill(found[1:])
        assert one["serialNumber"] == sbom.bill(found)["serialNumber"] != other["serialNumber"]

    def test_a_package_more_or_less_or_another_version_is_told(
        self, found: list[Package], tmp_path: Path
    ) -> None:
        path = tmp_path / "released.json"
        path.write_text(json.dumps(sbom.bill(found)))
        assert sbom.differences(path, found) == []
        first, second, *rest = found
        stranger = Package("by-hand", "6.6.6", "MIT")
        changed = [replace(second, version="0.0.0"), *rest, stranger]
        assert set(sbom.differences(path, changed)) == {
            f"{first.name} {first.version} is in the bill and not installed",
            f"{second.name} is 0.0.0, the bill says {second.version}",
            "by-hand 6.6.6 is installed and not in the bill",
        }

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"bomFormat": "SPDX", "components": []}'])
    def test_what_is_no_bill_is_refused(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "bill.json"
        path.write_text(content)
        with pytest.raises(ConfigError, match="triage sbom --out"):
            sbom.differences(path, [])

    def test_the_command_holds_a_bill_against_the_environment(self, tmp_path: Path) -> None:
        path = tmp_path / "bill.json"
        assert triage("sbom", "--out", str(path)).code == 0
        assert triage("sbom", "--against", str(path)).code == 0
        bill = json.loads(path.read_text())
        models = [one for one in bill["components"] if one["type"] == sbom.MODEL]
        assert all(len(one["hashes"][0]["content"]) == 64 for one in models)
        assert {"chest-radiograph-memae"} <= {one["name"] for one in models}
        del bill["components"][0]
        path.write_text(json.dumps(bill))
        assert triage("sbom", "--against", str(path)).code == 1


class TestAdvisories:
    def test_nothing_installed_is_on_the_list(self, found: list[Package]) -> None:
        assert advisories.affected(found) == []

    @pytest.mark.parametrize("weak", WEAK, ids=lambda one: f"{one.name} {one.version}")
    def test_a_planted_weak_version_is_found(self, found: list[Package], weak: Package) -> None:
        others = [one for one in found if one.name != weak.name]
        assert {one for one, _ in advisories.affected([*others, weak])} == {weak}

    def test_the_first_sound_version_is_let_through(self) -> None:
        assert advisories.affected([Package("starlette", "0.49.1", "")]) == []

    def test_the_lock_pins_nothing_on_the_list(self) -> None:
        lock = (ROOT / "requirements.lock").read_text()
        pinned = [
            Package(canonicalize_name(name), version, "")
            for name, _, version in (
                line.split()[0].partition("==") for line in lock.splitlines() if "==" in line
            )
        ]
        assert len(pinned) > 100
        assert advisories.affected(pinned) == []


class TestLicences:
    def test_nothing_needed_is_under_a_licence_that_binds_us(self, found: list[Package]) -> None:
        known = {one.name: one.licence for one in found}
        for name in sorted(installed.needed()):
            assert known[name] != installed.UNKNOWN, name
            assert not any(word in known[name] for word in COPYLEFT), f"{name}: {known[name]}"

    def test_an_extra_may_be_under_the_lgpl_where_it_is_named_here(
        self, found: list[Package]
    ) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = set(project["optional-dependencies"]) - {"dev"}
        reached = installed.needed(*extras)
        bound = {
            one.name: one.licence
            for one in found
            if one.name in reached and any(word in one.licence for word in COPYLEFT)
        }
        assert bound.items() <= NAMED_EXCEPTIONS.items()

    def test_a_planted_copyleft_licence_would_be_seen(self) -> None:
        assert any(word in "GNU General Public License v3 (GPLv3)" for word in COPYLEFT)

    def test_the_command_lists_them(self) -> None:
        rows = triage("sbom", "--licences", "--json").json
        assert {"torch", "pydicom"} <= {one["package"] for one in rows if one["needed"] == "core"}


def test_every_line_of_the_lock_has_a_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(lines) > 100
    for line in lines:
        Requirement(line.split(" --hash")[0].strip())
        assert "--hash=sha256:" in line, line


def wheel(folder: Path, content: str) -> Path:
    """Build a package of one line."""
    folder.mkdir()
    path = folder / "planted-1.0-py3-none-any.whl"
    info = "planted-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("planted.py", content)
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
    return path


def test_a_tampered_wheel_is_not_installed(tmp_path: Path) -> None:
    good = wheel(tmp_path / "good", "VALUE = 1\n")
    wheel(tmp_path / "bad", "VALUE = 2\n")
    digest = hashlib.sha256(good.read_bytes()).hexdigest()
    lock = tmp_path / "lock"
    lock.write_text(f"planted==1.0 --hash=sha256:{digest}\n")
    for name, is_installed in (("good", True), ("bad", False)):
        target = tmp_path / f"into-{name}"
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
            "--disable-pip-version-check", "--root-user-action=ignore", "--require-hashes",
            "--find-links", str(tmp_path / name), "--target", str(target), "-r", str(lock),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode == 0) is is_installed, done.stderr
        assert (target / "planted.py").is_file() is is_installed
