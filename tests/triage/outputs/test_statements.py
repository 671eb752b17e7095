"""No kind of result says anything else than the structured report: all of them, read back."""

import base64
import email
import json
from collections.abc import Callable
from email import policy
from io import BytesIO
from pathlib import Path

import hl7
import pytest
from pydicom import dcmread
from pydicom.sr.coding import Code

from tests.triage.outputs import studies
from triage import outputs
from triage.errors import Broken
from triage.finding import Assessment, Document
from triage.outputs import fhir_words, hl7_words, structured_report
from triage.outputs.statements import Said, Statement, statements

Triple = tuple[str, str, str]
"""Code, scheme or system, value."""


def sr(assessment: Assessment, mode: str) -> Said:
    """Read the structured report as it leaves, from its bytes."""
    document = structured_report.build(assessment, studies.context(mode))
    return statements(dcmread(BytesIO(document.content)))


def triples(
    said: Said, give: Callable[[Statement], Triple], *, details: bool
) -> list[list[Triple]]:
    return [
        [give(one) for one in group.statements if details or not one.is_detail]
        for group in said.groups
    ]


def as_hl7(one: Statement) -> Triple:
    value = one.value
    if isinstance(value, Code):
        words = value.value
    else:
        words = hl7_words.number(value) if isinstance(value, float) else value
    system = {"UMLS": "UML"}.get(one.name.scheme_designator, one.name.scheme_designator)
    return one.name.value, system, words


def as_fhir(one: Statement) -> Triple:
    value = one.value.value if isinstance(one.value, Code) else one.value
    words = repr(value) if isinstance(value, float) else value
    return one.name.value, fhir_words.SYSTEMS[one.name.scheme_designator], words


def as_text(one: Statement) -> Triple:
    value = one.value
    words = f"{value.value} {value.scheme_designator}" if isinstance(value, Code) else value
    return (
        one.name.value,
        one.name.scheme_designator,
        repr(words) if isinstance(words, float) else words,
    )


def read_hl7(content: bytes) -> list[list[Triple]]:
    message = hl7.parse(content)
    groups: dict[str, list[Triple]] = {}
    for segment in message.segments("OBX"):
        if not str(segment(4)):
            continue
        code, _, system = (message.unescape(part) for part in str(segment(3)).split("^"))
        value = message.unescape(str(segment(5)).split("^")[0])
        groups.setdefault(str(segment(4)), []).append((code, system, value))
    return list(groups.values())


def read_fhir(content: bytes) -> list[list[Triple]]:
    def read(part: dict[str, object]) -> Triple:
        name = part["code"]["coding"][0]  # type: ignore[index]
        (kind,) = (key for key in part if key.startswith("value"))
        value = part[kind]
        if kind == "valueCodeableConcept":
            value = value["coding"][0]["code"]  # type: ignore[index]
        elif kind == "valueQuantity":
            value = repr(value["value"])  # type: ignore[index]
        return name["code"], name["system"], str(value)

    entries = [entry["resource"] for entry in json.loads(content)["entry"]]
    return [
        [read(part) for part in one["component"]]
        for one in entries
        if one["resourceType"] == "Observation"
    ]


def read_text(text: str) -> list[list[Triple]]:
    groups = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        lines = []
        for line in block.splitlines():
            words, _, codes = line.removesuffix("]").rpartition(" [")
            name, _, value = codes.partition("=")
            code, _, scheme = name.rpartition(" ")
            lines.append((code, scheme, value or words.partition(": ")[2]))
        groups.append(lines)
    return groups


def read_webhook(content: bytes) -> list[list[Triple]]:
    def words(value: object) -> str:
        if isinstance(value, dict):
            return f"{value['code']} {value['scheme']}"
        return repr(value) if isinstance(value, float) else str(value)

    return [
        [(o["name"]["code"], o["name"]["scheme"], words(o["value"])) for o in group["statements"]]
        for group in json.loads(content)["data"]["groups"]
    ]


def built(kind: str, assessment: Assessment, mode: str) -> bytes:
    context = studies.context(mode)
    output = outputs.load(kind)
    document = output.build(assessment, context)
    output.check(document, assessment, context)
    return document.content


def study_first(groups: list[list[Triple]], said: Said) -> list[list[Triple]]:
    last = said.groups.index(said.study)
    return [groups[last], *groups[:last], *groups[last + 1 :]]


def assessments(folder: Path) -> list[Assessment]:
    odd = studies.generated(
        folder / "odd.dcm", studies.DX, PatientID="P|1^&~", PatientName="Müller^Jörg=山田^太郎",
        SpecificCharacterSet="ISO_IR 192",
    )  # fmt: skip
    two = [
        studies.generated(folder / f"{n}.dcm", studies.DX, StudyInstanceUID="1.2.3", SeriesNumber=n)
        for n in (1, 2)
    ]
    return [
        studies.assessed([studies.bundled("CT_small.dcm")]),
        studies.assessed([studies.bundled("MR_small.dcm")], prioritised=False, p_value=0.7),
        studies.assessed([odd], score=1.25e-7, p_value=1e-05),
        studies.assessed(two),
        studies.not_analysed([studies.bundled("CT_small.dcm")]),
    ]


@pytest.mark.parametrize("mode", ["triage", "research"])
@pytest.mark.parametrize("which", range(5))
def test_every_kind_says_what_the_structured_report_says(
    which: int, mode: str, tmp_path: Path
) -> None:
    assessment = assessments(tmp_path)[which]
    said = sr(assessment, mode)
    assert all(group.statements for group in said.groups)
    spoken = triples(said, as_text, details=False)
    text = study_first(spoken, said)
    hl7_said = read_hl7(built("hl7_oru", assessment, mode))
    assert hl7_said == triples(said, as_hl7, details=False)
    assert read_fhir(built("fhir_bundle", assessment, mode)) == triples(said, as_fhir, details=True)
    assert read_text(built("plain_text", assessment, mode).decode()) == text
    assert read_webhook(built("webhook", assessment, mode)) == text
    mail = email.message_from_bytes(built("mail", assessment, mode), policy=policy.SMTP)
    identifiers, *rest = read_text(mail.get_content())
    assert len(identifiers) == 1
    assert rest == text


def test_in_triage_mode_no_kind_names_the_strangest_image(tmp_path: Path) -> None:
    paths = [
        studies.generated(
            tmp_path / f"{n}.dcm", studies.DX, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.4",
            SOPInstanceUID=f"1.2.5.{n}", InstanceNumber=n,
        )
        for n in range(1, 4)
    ]  # fmt: skip
    assessment = studies.assessed(paths)
    for kind in ("hl7_oru", "fhir_bundle", "webhook", "mail", "plain_text"):
        content = built(kind, assessment, "triage")
        if kind == "mail":
            content = base64.b64decode(content.partition(b"\r\n\r\n")[2])
        assert not any(f"1.2.5.{n}".encode() in content for n in range(1, 4)), kind


@pytest.mark.parametrize("kind", ["hl7_oru", "fhir_bundle", "webhook", "mail", "plain_text"])
def test_the_same_study_gives_the_same_bytes(kind: str) -> None:
    one, two = (
        built(kind, studies.assessed([studies.bundled("CT_small.dcm")]), "triage") for _ in range(2)
    )
    assert one == two


@pytest.mark.parametrize("kind", ["hl7_oru", "fhir_bundle", "webhook", "mail", "plain_text"])
def test_an_altered_statement_does_not_leave(kind: str) -> None:
    assessment, context = studies.assessed([studies.bundled("CT_small.dcm")]), studies.context()
    output = outputs.load(kind)
    good = output.build(assessment, context)
    content = good.content
    if kind == "mail":
        head, _, body = content.partition(b"\r\n\r\n")
        changed = base64.b64decode(body).replace(b"3.25", b"3.26")
        content = head + b"\r\n\r\n" + base64.encodebytes(changed)
    else:
        content = content.replace(b"3.25", b"3.26")
    assert content != good.content
    with pytest.raises(Broken, match="its statements are not the structured report's"):
        output.check(Document(kind, "", good.sop_instance_uid, content), assessment, context)
