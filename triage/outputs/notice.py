"""What a webhook and a mail may tell: the statements, and the identifiers that the site allows.

Never a name, a birth date or the algorithm's parameters, which quote Series Instance UIDs.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydicom.sr.coding import Code

from triage.finding import Assessment
from triage.outputs.context import ReportContext
from triage.outputs.statements import Statement, Told

_IDENTIFIERS: Final[Mapping[str, Callable[[Assessment, Told], str]]] = {
    "study_instance_uid": lambda assessment, _: assessment.study.ref.study_instance_uid,
    "accession_number": lambda _, told: str(told.source.header.get("AccessionNumber") or ""),
    "patient_id": lambda _, told: str(told.source.header.get("PatientID") or ""),
}


def identifiers(assessment: Assessment, context: ReportContext, told: Told) -> dict[str, str]:
    """Give ``reporting.notice_identifiers`` of the study, in that order."""
    wanted = context.reporting.notice_identifiers
    return {name: _IDENTIFIERS[name](assessment, told) for name in wanted}


def groups(told: Told) -> list[dict[str, Any]]:
    """Give the statements as JSON, details left out, those on the whole study first."""
    return [
        {
            "about": _code(group.name),
            "tracking_uid": group.tracking_uid or None,
            "statements": [_statement(one) for one in group.statements if not one.is_detail],
        }
        for group in told.said.study_first
    ]


def said_in(notice: list[dict[str, Any]]) -> list[list[tuple[str, str, str]]]:
    """Read the statements back: groups of (code, scheme, value)."""
    return [
        [(one["name"]["code"], one["name"]["scheme"], _value(one)) for one in group["statements"]]
        for group in notice
    ]


def _value(one: dict[str, Any]) -> str:
    value = one["value"]
    if isinstance(value, dict):
        return f"{value['code']} {value['scheme']}"
    return repr(value) if isinstance(value, float) else str(value)


def _statement(one: Statement) -> dict[str, Any]:
    value = _code(one.value) if isinstance(one.value, Code) else one.value
    unit = {"unit": _code(one.unit)} if one.unit else {}
    return {"name": _code(one.name), "value": value, **unit}


def _code(code: Code) -> dict[str, str]:
    return {"code": code.value, "scheme": code.scheme_designator, "meaning": code.meaning}
