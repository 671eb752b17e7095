"""The source of the four packages, parsed."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("triage", "workers", "models", "db")


def files() -> list[Path]:
    """Give every Python file of the packages, relative to the root."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in found)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def calls(node: ast.AST) -> Iterator[ast.Call]:
    return (one for one in ast.walk(node) if isinstance(one, ast.Call))


def functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return (one for one in ast.walk(node) if isinstance(one, kinds))


def method(call: ast.Call) -> str:
    """Give the name of the attribute that is called; empty for a plain function."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""
