"""The conformance statement as Markdown, its chapters those of PS3.2."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydicom.uid import UID

Json = Mapping[str, Any]


def markdown(found: Json) -> str:
    """Write the DICOM Conformance Statement and, behind it, the IHE Integration Statement."""
    chapters = (_front, _overview, _introduction, _networking, _media, _character_sets, _security,
                _annexes, _ihe)  # fmt: skip
    return "\n".join(line for chapter in chapters for line in chapter(found)) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Give a Markdown table; nothing where there are no rows."""
    rows = list(rows)
    if not rows:
        yield "None."
        return
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        cells = (str(cell).replace("|", "\\|") for cell in row)
        yield f"| {' | '.join(cells)} |"


def _front(found: Json) -> Iterator[str]:
    yield f"# DICOM Conformance Statement: {found['product']} {found['version']}"
    yield ""
    yield "Generated from the running configuration. For prioritization only. Not for diagnosis."
    yield ""


def _overview(found: Json) -> Iterator[str]:
    yield "## 1 Overview"
    yield ""
    yield "Receives studies, moves those that look unlike healthy anatomy up a radiologist's"
    yield f"worklist, and sends results. Intended use mode: {found['mode']}."
    yield ""
    rows = {
        (service["name"], service["sop_class_uid"], service["role"])
        for entity in found["entities"]
        for service in (*entity["initiates"], *entity["accepts"])
    }
    yield from table(
        ("SOP class", "UID", "User", "Provider"),
        (
            (name, uid, _yes((name, uid, "SCU") in rows), _yes((name, uid, "SCP") in rows))
            for name, uid in sorted({row[:2] for row in rows})
        ),
    )
    yield ""


def _yes(holds: object) -> str:
    return "yes" if holds else "no"


def _introduction(found: Json) -> Iterator[str]:
    yield "## 2 Introduction"
    yield ""
    yield "For those who connect it to a PACS, a RIS or a manager of work items. That two"
    yield "statements agree does not prove that two systems work together: test it."
    yield ""
    yield "Terms are those of PS3.3 to PS3.8, PS3.16 and PS3.18."
    yield ""
    yield f"Implementation Class UID {found['implementation_class_uid']}, "
    yield f"Implementation Version Name {found['implementation_version_name']}."
    yield ""


def _networking(found: Json) -> Iterator[str]:
    yield "## 3 Networking"
    yield ""
    yield "### 3.1 Implementation model"
    yield ""
    yield from table(
        ("Application entity", "AE title", "Where", "What it does"),
        ((one["name"], one["ae_title"], one["where"], one["does"]) for one in found["entities"]),
    )
    yield ""
    yield "### 3.2 Application entity specifications"
    yield ""
    for number, entity in enumerate(found["entities"], 1):
        yield from _entity(number, entity)
    yield "### 3.3 Web services"
    yield ""
    yield from table(
        ("Role", "Service", "With"),
        ((one["role"], one["service"], one["with"]) for one in found["web_services"]),
    )
    yield ""
    yield "### 3.4 Other interfaces"
    yield ""
    yield from table(
        ("Destination", "Interface", "Carries"),
        ((one["name"], one["interface"], one["carries"]) for one in found["other_interfaces"]),
    )
    yield ""
    yield "### 3.5 Physical network and configuration"
    yield ""
    yield "TCP/IP, version 4 or 6. Everything here is set in site.yaml; `triage config show`."
    yield ""


def _entity(number: int, entity: Json) -> Iterator[str]:
    yield f"#### 3.2.{number} {entity['name']}"
    yield ""
    yield "Association policies:"
    yield ""
    yield from table(("Policy", "Value"), (entity["policies"] or {}).items())
    for word in ("initiates", "accepts"):
        if not entity[word]:
            continue
        yield ""
        yield f"Associations that it {word}:"
        yield ""
        yield from table(
            ("SOP class", "UID", "Role", "Services", "Transfer syntaxes"),
            (
                (one["name"], one["sop_class_uid"], one["role"], one["what"], syntaxes)
                for one, syntaxes in _folded(entity[word])
            ),
        )
    yield ""


def _folded(services: Sequence[Json]) -> Iterator[tuple[Json, str]]:
    """Write a long list of transfer syntaxes once, and after that where it stands."""
    first: dict[tuple[str, ...], str] = {}
    for one in services:
        syntaxes = tuple(one["transfer_syntax_uids"])
        if syntaxes in first:
            yield one, f"as {first[syntaxes]}"
            continue
        if len(syntaxes) > 1:
            first[syntaxes] = one["name"]
        yield one, "; ".join(f"{UID(uid).name} ({uid})" for uid in syntaxes)


def _media(_found: Json) -> Iterator[str]:
    yield "## 4 Media interchange"
    yield ""
    yield "None: no media are written and no DICOMDIR is read."
    yield ""


def _character_sets(found: Json) -> Iterator[str]:
    written = sorted({one["character_set"] for one in found["objects"]})
    yield "## 5 Support of character sets"
    yield ""
    yield f"Written: {', '.join(written)}. Received: every Defined Term of Specific Character Set"
    yield "(PS3.3 C.12.1.1.2), stored as it came; what cannot be decoded is shown replaced."
    yield ""


def _security(found: Json) -> Iterator[str]:
    yield "## 6 Security"
    yield ""
    yield "DIMSE runs over TLS by the BCP 195 profile (PS3.15 B.12, RFC 9325) where listener.tls,"
    yield "ups.manager.tls or a destination's tls says so: TLS 1.3, and TLS 1.2 with the suites"
    yield "that RFC 9325 recommends; certificates on both sides, pinned where the site wants it."
    yield "HTTPS, MLLP and SMTP check the peer's certificate. Callers are known by AE title,"
    yield "address and, where the site wants it, certificate; nobody else is let in unless"
    yield "listener.peers is any."
    yield "Users sign in with passwords kept as argon2id. Audit rows are"
    yield "in the words of PS3.15 A.5, chained by hashes (`triage audit verify`), and sent to the"
    yield "Audit Record Repositories in audit.collectors (syslog over TLS, or FHIR AuditEvent)."
    yield f"Identification is copied, never altered; the mode ({found['mode']}) is in every object."
    yield ""


def _annexes(found: Json) -> Iterator[str]:
    yield "## 7 Annexes"
    yield ""
    yield "### 7.1 Objects created"
    yield ""
    yield "Of an example study with one order. Patient, study and order attributes are the analysed"
    yield "instances' own; an attribute that is empty here is so for want of a source."
    for number, one in enumerate(found["objects"], 1):
        yield ""
        yield f"#### 7.1.{number} {UID(one['sop_class_uid']).name} ({one['kind']})"
        yield ""
        yield f"Transfer syntax: {UID(one['transfer_syntax_uid']).name}. "
        yield f"Templates (PS3.16): {', '.join(one['templates']) or 'none'}. "
        yield f"Coding schemes: {', '.join(one['coding_schemes']) or 'none'}."
        yield ""
        yield from table(
            ("Tag", "Attribute", "VR", "Here"),
            ((a["tag"], a["name"], a["vr"], a["presence"]) for a in one["attributes"]),
        )
    yield ""
    yield "### 7.2 Private attributes, SOP classes and transfer syntaxes"
    yield ""
    yield "None."
    yield ""
    yield "### 7.3 Private codes"
    yield ""
    yield from table(
        ("Code", "Scheme", "Meaning"),
        ((one["code"], one["scheme"], one["meaning"]) for one in found["private_codes"]),
    )
    yield ""


def _ihe(found: Json) -> Iterator[str]:
    yield "# IHE Integration Statement"
    yield ""
    yield f"{found['product']} {found['version']}, as configured. Claimed by its makers; no"
    yield "Connectathon has tested it."
    yield ""
    yield from table(
        ("Profile", "Actor", "Transactions", "Limits"),
        (
            (one["profile"], one["actor"], ", ".join(one["transactions"]), one["limits"])
            for one in found["ihe"]
        ),
    )
    yield ""
    yield "Not claimed:"
    yield ""
    for name, why in found["ihe_not_claimed"].items():
        yield f"- {name}: {why}."
