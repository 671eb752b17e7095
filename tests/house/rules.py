"""Rules of the house that a parser can see. Each gives the places where it is broken."""

import ast
from collections.abc import Iterator

from tests.house.source import calls, functions, method

LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log", "msg"})
PATIENT = frozenset(
    {
        "patient_name", "patient_id", "patient_birth_date", "birth_date", "patient_sex",
        "issuer_of_patient_id", "accession_number", "referring_physician_name",
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "IssuerOfPatientID",
        "OtherPatientIDs", "PatientAddress", "AccessionNumber", "ReferringPhysicianName",
        "patient",
    }
)  # fmt: skip
"""Keywords whose values name a person. Their names may be said in an error, their values never."""


def commits(tree: ast.Module) -> Iterator[int]:
    """Find calls of ``commit``: a transaction is a ``with`` block."""
    return (call.lineno for call in calls(tree) if method(call) == "commit")


def state_writes(tree: ast.Module) -> Iterator[int]:
    """Find writes of a study's state: assignments, UPDATEs and rows made in another state."""
    for function in functions(tree):
        written = [one for one in _targets(function) if one.attr == "state"]
        studies = _studies(function) if written else set()  # to ask it of every function costs
        yield from (one.lineno for one in written if _is_state_of(one, studies))
    for call in calls(tree):
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        new = next((ast.unparse(one.value) for one in call.keywords if one.arg == "state"), None)
        updates = (
            method(call) == "values" and new is not None and "update(StudyRow)" in ast.unparse(call)
        )
        makes = name == "StudyRow" and new not in {None, "StudyState.RECEIVING"}
        sets = name == "setattr" and _sets_state(ast.unparse(call))
        if updates or makes or sets:
            yield call.lineno


def _sets_state(text: str) -> bool:
    return "'state'" in text and "study" in text.lower()


def _studies(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Give the names that hold a StudyRow in a function."""
    arguments = [*function.args.args, *function.args.kwonlyargs]
    found = {one.arg for one in arguments if one.annotation and _says_study(one.annotation)}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and _says_study(node.value):
            found |= {name.id for target in node.targets for name in _names(target)}
        if isinstance(node, ast.For) and _says_study(node.iter):
            found |= {name.id for name in _names(node.target)}
    return found


def _says_study(node: ast.AST) -> bool:
    return "StudyRow" in ast.unparse(node)


def _names(node: ast.AST) -> Iterator[ast.Name]:
    return (one for one in ast.walk(node) if isinstance(one, ast.Name))


def _targets(function: ast.AST) -> Iterator[ast.Attribute]:
    """Find the attributes that are assigned to."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (one for one in ast.walk(target) if isinstance(one, ast.Attribute))


def _is_state_of(target: ast.Attribute, studies: set[str]) -> bool:
    owner = ast.unparse(target.value)
    return owner in studies or "study" in owner.lower()


def patient_in_words(tree: ast.Module) -> Iterator[int]:
    """Find patient values in logs, in exceptions, and in the ``msg`` an exception is given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and method(node) in LEVELS:
            yield from _values(*node.args, *(word.value for word in node.keywords))
            yield from (word.value.lineno for word in node.keywords if word.arg in PATIENT)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from _values(*node.exc.args, *(word.value for word in node.exc.keywords))
        elif isinstance(node, ast.Assign) and "msg" in {name.id for name in _names(node)}:
            yield from _values(node.value)


def _values(*nodes: ast.AST) -> Iterator[int]:
    """Find expressions that read a patient's value: ``x.patient_id``, ``ds["PatientID"]``."""
    for node in (one for given in nodes for one in ast.walk(given)):
        if isinstance(node, ast.expr) and _reads(node) in PATIENT:
            yield node.lineno


def _reads(node: ast.expr) -> str:
    """Give the name or key that an expression reads."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Subscript):
        return _key(node.slice)
    if isinstance(node, ast.Call) and method(node) == "get" and node.args:
        return _key(node.args[0])
    return ""


def _key(node: ast.AST) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ""
