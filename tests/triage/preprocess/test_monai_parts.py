"""MONAI is imported in one place, and there without what it can do without."""

import sys
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

import triage
from triage.preprocess.monai_parts import without

HERE = Path(triage.__file__).parent
NAME = "a_module_of_this_test"


def test_nothing_else_imports_monai() -> None:
    folders = (HERE, HERE.parent / "models", HERE.parent / "workers")
    importing = {
        path.name
        for folder in folders
        for path in folder.rglob("*.py")
        if "from monai" in (text := path.read_text(encoding="utf-8")) or "import monai" in text
    }
    assert importing == {"monai_parts.py"}


def test_what_is_out_of_sight_is_found_again_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{NAME}.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    invalidate_caches()
    with without((NAME, "json")):
        with pytest.raises(ModuleNotFoundError):
            import_module(NAME)
        assert import_module("json") is sys.modules["json"]  # who has it already keeps it
    assert import_module(NAME).__name__ == NAME
    monkeypatch.delitem(sys.modules, NAME)
