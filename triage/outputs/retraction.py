"""Taking back what was told beside the PACS: the same document again, marked as wrong.

HL7: every OBX again with OBX-11 W (post original as wrong), OBR-25 C. FHIR: the report and its
observations become entered-in-error by conditional update. Webhook, mail and text say so in words.
A report that only was superseded is not taken back here: the new one took its place already, and
in HL7 under the very same keys.
"""

import email
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

import hl7

from triage.finding import Document
from triage.outputs.context import MODEL_NAME, ReportContext
from triage.outputs.hl7_oru import control_id
from triage.outputs.hl7_words import moment, text
from triage.outputs.mail import message_id
from triage.outputs.rejection_note import KIND

EVENT: Final = "report.withdrawn"


def build(document: Document, words: str, context: ReportContext) -> Document:
    """Build what takes a document back: same input, same identifier.

    Raises:
        KeyError: this kind cannot be taken back (see WRITERS).
    """
    parts = json.dumps(["retraction", document.sop_instance_uid, words]).encode()
    digest = hmac.new(context.site_key, parts, hashlib.sha256).digest()
    own = f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
    content = WRITERS[document.kind](document.content, own, words, context)
    return Document(KIND, sop_class_uid="", sop_instance_uid=own, content=content)


def _hl7(content: bytes, own: str, words: str, context: ReportContext) -> bytes:
    message = hl7.parse(content)
    at = moment(context.now)
    written = []
    for segment in message:
        kind = str(segment[0])
        if kind == "MSH":
            segment.assign_field(at, 7)
            segment.assign_field(control_id(own), 10)
        elif kind == "OBR":
            segment.assign_field(at, 22)
            segment.assign_field("C", 25)
        elif kind == "OBX":
            segment.assign_field("W", 11)
        written.append(str(segment))
        if kind == "OBR":
            written.append(f"NTE|1|L|{text(f'Withdrawn. {words}.')}")
    return "".join(f"{one}\r" for one in written).encode()


def _fhir(content: bytes, own: str, words: str, _context: ReportContext) -> bytes:  # noqa: ARG001 - one signature for all
    bundle = json.loads(content)
    for entry in bundle["entry"]:
        resource, request = entry["resource"], entry["request"]
        if resource["resourceType"] in {"DiagnosticReport", "Observation"}:
            resource["status"] = "entered-in-error"
            query = request.pop("ifNoneExist")
            request.update(method="PUT", url=f"{request['url']}?{query}")
        elif request["method"] == "PUT":  # what is known of the study by now is not undone
            kind, _, query = request["url"].partition("?")
            request.update(method="POST", url=kind, ifNoneExist=query)
        if resource["resourceType"] == "DiagnosticReport":
            resource["conclusion"] = f"Withdrawn. {words}."
    return json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode()


def _webhook(content: bytes, own: str, words: str, context: ReportContext) -> bytes:
    told = json.loads(content)["data"]
    kept = {name: told[name] for name in ("report_uid", "generation", "mode", "identifiers")}
    at = context.now.isoformat(timespec="seconds")
    data = {**kept, "withdrawal_uid": own, "why": words}
    body = {"type": EVENT, "timestamp": at, "data": data}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _mail(content: bytes, own: str, words: str, context: ReportContext) -> bytes:
    former = email.message_from_bytes(content, policy=policy.SMTP)
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = f"{MODEL_NAME}: Withdrawn"
    message["Date"] = format_datetime(context.now)
    message["Message-ID"] = message_id(own)
    message["In-Reply-To"] = message["References"] = former["Message-ID"]
    message["Auto-Submitted"] = "auto-generated"
    about = former.get_content().replace("\r\n", "\n").partition("\n\n")[0]
    message.set_content(f"{about}\n\nThis report is withdrawn. {words}.\n", cte="base64")
    return message.as_bytes()


def _text(content: bytes, own: str, words: str, _context: ReportContext) -> bytes:  # noqa: ARG001 - as above
    """Name the text by the id that it was sent under; no line can be picked as a statement."""
    former = hashlib.sha256(content).hexdigest()[:32]
    return f"This report is withdrawn. {words}.\r\nmsg_{former}\r\n".encode()


WRITERS: Final[Mapping[str, Callable[[bytes, str, str, ReportContext], bytes]]] = {
    "hl7_oru": _hl7,
    "fhir_bundle": _fhir,
    "webhook": _webhook,
    "mail": _mail,
    "plain_text": _text,
}
"""By kind of the document that is taken back."""
