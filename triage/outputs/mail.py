"""The result as an e-mail: the plain text under a subject without patient data.

Who sends it and who gets it are the destination's, and are set when it is sent. Message-ID and
Date are fixed with the text, so that a mail sent twice is one mail for a mailbox that looks.
"""

import base64
import email
import hashlib
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from triage.finding import Assessment, Document
from triage.outputs import notice, plain_text
from triage.outputs.codes import RESULTS
from triage.outputs.context import MODEL_NAME, RESEARCH_BANNER, ReportContext, uid
from triage.outputs.statements import DIFFERS, hold_back, tell
from triage.outputs.structured_report import warm

__all__ = ["KIND", "build", "check", "warm"]

KIND: Final = "mail"


def build(assessment: Assessment, context: ReportContext) -> Document:
    """Build the message of one assessment: same input, same Message-ID, same bytes.

    Raises:
        Held, Broken, TryAgain: as the structured report's ``build``.
    """
    told = tell(assessment, context)
    own = uid(context, assessment, KIND, "instance")
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = subject(assessment, context)
    message["Date"] = format_datetime(context.now)
    message["Message-ID"] = message_id(own)
    message["Auto-Submitted"] = "auto-generated"
    named = notice.identifiers(assessment, context, told)
    about = [f"{name.replace('_', ' ')}: {value}" for name, value in named.items()]
    text = "\n".join([*about, "", *plain_text.lines(told.said)]) + "\n"
    message.set_content(text, cte="base64")
    return Document(KIND, sop_class_uid="", sop_instance_uid=own, content=message.as_bytes())


def check(document: Document, assessment: Assessment, context: ReportContext) -> None:
    """Read the message back and hold it against the structured report's tree.

    Raises:
        Broken: it must not leave.
    """
    message = email.message_from_bytes(document.content, policy=policy.SMTP)
    _, *said = plain_text.said_in(message.get_content())
    problems = {
        "its subject is not the result": message["Subject"] != subject(assessment, context),
        DIFFERS: said != plain_text.said(tell(assessment, context).said),
    }
    hold_back("mail", problems)


def subject(assessment: Assessment, context: ReportContext) -> str:
    """Give what a locked telephone may show: the result, and of whose study nothing."""
    banner = f" ({RESEARCH_BANNER})" if context.mode == "research" else ""
    return f"{MODEL_NAME}: {RESULTS[assessment.decision.outcome].meaning}{banner}"


def message_id(own: str) -> str:
    """Give the Message-ID of a document: 160 bits of its UID, the same whenever it goes."""
    short = base64.b32encode(hashlib.sha256(own.encode()).digest()).decode()[:32]
    return f"<{short}@{MODEL_NAME.lower()}>"
