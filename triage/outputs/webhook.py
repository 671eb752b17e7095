"""The result as the JSON of a webhook: for chat bots, pagers and a hospital's own scripts.

The body follows the Standard Webhooks convention (type, timestamp, data); its id and signature
are headers, made when it is sent (``triage.deliver.webhook``).
"""

import json
from typing import Any, Final

from triage.finding import Assessment, Document
from triage.outputs import notice, plain_text
from triage.outputs.context import ReportContext, uid
from triage.outputs.statements import DIFFERS, hold_back, tell
from triage.outputs.structured_report import warm

__all__ = ["KIND", "build", "check", "warm"]

KIND: Final = "webhook"
EVENT: Final = "report.preliminary"


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the body of one assessment: same input, same bytes.

    Raises:
        Held, Broken, TryAgain: as the structured report's ``build``.
    """
    told = tell(assessment, context)
    body: dict[str, Any] = {
        "type": EVENT,
        "timestamp": context.now.isoformat(timespec="seconds"),
        "data": {
            "report_uid": told.report_uid,
            "generation": assessment.study.ref.generation,
            "mode": context.mode,
            "identifiers": notice.identifiers(assessment, context, told),
            "priority": assessment.decision.priority,
            "groups": notice.groups(told),
        },
    }
    return Document(
        kind=KIND,
        sop_class_uid="",
        sop_instance_uid=uid(context, assessment, KIND, "instance"),
        content=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
    )


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Read the body back and hold it against the structured report's tree.

    Raises:
        Broken: it must not leave.
    """
    told = tell(assessment, context)
    data = json.loads(document.content)["data"]
    allowed = set(context.reporting.notice_identifiers)
    problems = {
        DIFFERS: notice.said_in(data["groups"]) != plain_text.said(told.said),
        "it names more than the site allows": set(data["identifiers"]) != allowed,
    }
    hold_back("webhook", problems)
