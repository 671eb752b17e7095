"""Every name in a table or a configuration file leads somewhere, and nothing is left out."""

import ast
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import models
from db.states import FINAL, StudyState
from tests.house.source import ROOT, files, functions, tree
from triage import outputs, rules, settings
from triage.commands.benchmark_plan import cells, read_table
from triage.commands.training_plan import Training, read_training
from triage.destinations import Dimse
from triage.settings import PACKAGED, Settings

HEADINGS = ("Source:", "Input:", "Score:", "Differs:")
DETECTOR_FILES = sorted((PACKAGED / "detectors").glob("*.yaml"))
BENCHMARK_FILES = sorted((PACKAGED / "benchmarks").glob("*.yaml"))
LOADED = {"site.yaml", "routes.yaml", "policy.yaml"}
"""By ``settings.load``, beside recipes/."""
HEAVY = ("torch", "monai", "models", "matplotlib", "SimpleITK")


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("TRIAGE_CONFIG", raising=False)
    return settings.load(state=tmp_path, config=PACKAGED)


CONTRACT = Path("models", "contract.py")


def detector_modules() -> list[Path]:
    """Give the files of models/ that define a Detector; the contract is none."""
    return [
        path
        for path in files()
        if path.parts[0] == "models" and path != CONTRACT
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        and {ast.unparse(base).split(".")[-1] for base in node.bases} & {"Detector", "Coder"}
    ]


class TestTables:
    @pytest.mark.parametrize("family", models.DETECTORS)
    def test_every_family_is_a_detector(self, family: str) -> None:
        from models.contract import Detector

        assert issubclass(models.load(family), Detector)

    @pytest.mark.parametrize("kind", outputs.OUTPUTS)
    def test_every_output_builds_checks_and_warms(self, kind: str) -> None:
        module = import_module(outputs.OUTPUTS[kind])
        assert all(callable(getattr(module, name)) for name in ("build", "check", "warm"))

    @pytest.mark.parametrize("name", rules.RULES)
    def test_every_rule_is_callable_and_explained(self, name: str) -> None:
        assert callable(rules.RULES[name])
        written = {
            one.name: ast.get_docstring(one) for one in functions(tree(Path("triage/rules.py")))
        }
        assert written.get(name), f"{name} has no docstring"

    def test_every_working_state_has_a_queue(self) -> None:
        if find_spec("triage.deliver") is None:
            pytest.skip("there is no triage.deliver yet")
        from workers.tasks import QUEUES

        assert set(QUEUES) == set(StudyState) - FINAL


class TestDetectorFiles:
    def test_every_detector_stands_in_the_table(self) -> None:
        named = {Path(*name.partition(":")[0].split(".")) for name in models.DETECTORS.values()}
        assert {path.with_suffix("") for path in detector_modules()} == named

    @pytest.mark.parametrize("path", detector_modules(), ids=str)
    def test_every_detector_says_where_it_comes_from_and_differs(self, path: Path) -> None:
        text = ast.get_docstring(tree(path)) or ""
        assert [heading for heading in HEADINGS if heading not in text] == []


class TestConfigs:
    def test_every_file_is_read_by_someone(self, packaged: Settings) -> None:
        found = {str(path.relative_to(PACKAGED)) for path in PACKAGED.rglob("*.yaml")}
        recipes = {f"recipes/{name}.yaml" for name in packaged.recipes}
        detectors = {f"detectors/{path.name}" for path in DETECTOR_FILES}
        benchmarks = {f"benchmarks/{path.name}" for path in BENCHMARK_FILES}
        assert found == LOADED | recipes | detectors | benchmarks

    @pytest.mark.parametrize("path", BENCHMARK_FILES, ids=lambda path: path.stem)
    def test_every_benchmark_names_families_and_recipes_that_exist(
        self, path: Path, packaged: Settings
    ) -> None:
        table = read_table(path)
        for size in table.sizes:
            for cell in cells(table, size):
                training = Training.model_validate(cell.training)
                assert training.family in models.DETECTORS, cell.name
                assert training.recipe in packaged.recipes, cell.name

    def test_every_file_is_yaml_without_twice_the_same_key(self) -> None:
        for path in PACKAGED.rglob("*.yaml"):
            for node in _mappings(yaml.compose(path.read_text(encoding="utf-8"))):
                keys = [key.value for key, _ in node.value]
                assert len(keys) == len(set(keys)), path

    def test_every_route_names_rules_recipes_and_detectors_that_exist(
        self, packaged: Settings
    ) -> None:
        for route in packaged.routes.routes:
            assert set(route.require) <= set(rules.RULES), route.name
            assert route.recipe in packaged.recipes, route.name
            assert set(route.detectors) <= {path.stem for path in DETECTOR_FILES}, route.name

    @pytest.mark.parametrize("path", DETECTOR_FILES, ids=lambda path: path.stem)
    def test_every_detector_file_names_a_family_and_a_recipe_that_exist(
        self, path: Path, packaged: Settings
    ) -> None:
        training = read_training(path)
        assert training.name == path.stem
        assert training.family in models.DETECTORS
        assert training.recipe in packaged.recipes

    def test_every_destination_by_default_names_an_output(self) -> None:
        field = Dimse.model_fields["outputs"]
        assert set(field.default) <= set(outputs.OUTPUTS)


def _mappings(node: yaml.Node | None) -> list[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        inner = [one for _, value in node.value for one in _mappings(value)]
        return [node, *inner]
    if isinstance(node, yaml.SequenceNode):
        return [one for value in node.value for one in _mappings(value)]
    return []


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("triage.receive", (*HEAVY, "sqlalchemy", "celery", "redis", "db", "workers")),
        ("triage.receive.listener", (*HEAVY, "sqlalchemy", "celery", "redis", "db", "workers")),
        ("triage.worklist.app", (*HEAVY, "celery", "workers")),
        ("triage.__main__", (*HEAVY, "celery", "pynetdicom", "workers")),
        ("triage.ingest", (*HEAVY, "celery", "workers")),
        ("models", ("torch", "monai")),
    ],
)
def test_a_door_loads_no_more_than_it_needs(module: str, absent: tuple[str, ...]) -> None:
    if find_spec(module) is None:
        pytest.skip(f"there is no {module} yet")
    program = (
        f"import sys, {module}; found = sorted(set({absent!r}) & set(sys.modules)); "
        "sys.exit(' '.join(found) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
