"""``triage conformance``: the DICOM Conformance Statement and the IHE Integration Statement.

Nothing here is a list to be kept by hand: every part is asked of the code and of the configuration
in force, so that a new output, destination or SOP class stands in the next statement by itself.
"""

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from triage.commands import common
from triage.commands.common import AsJson, Config, State
from triage.settings import Settings


def conformance(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there.")
    ] = None,
    state: State = None,
    config: Config = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print what this installation conforms to: DICOM (PS3.2) and IHE, as it is configured."""
    import json

    from triage.commands.conformance_text import markdown

    found = statement(common.load(state, config))
    text = json.dumps(found, indent=2) + "\n" if as_json else markdown(found)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        typer.echo(f"Written to {out}")


def statement(settings: Settings) -> dict[str, Any]:
    """Gather both statements as JSON."""
    from triage import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
    from triage.commands import (
        conformance_ihe,
        conformance_network,
        conformance_objects,
        conformance_priors,
    )

    made = conformance_objects.specimens(settings)
    return {
        "product": "triage",
        "version": version("triage"),
        "implementation_class_uid": IMPLEMENTATION_CLASS_UID,
        "implementation_version_name": IMPLEMENTATION_VERSION_NAME,
        "mode": settings.site.intended_use.mode,
        "entities": [
            _entity(one)
            for one in (
                *conformance_network.entities(settings, made),
                *conformance_priors.fetchers(settings),
            )
        ],
        "web_services": _web_services(settings),
        "other_interfaces": _other_interfaces(settings),
        "objects": [
            {
                "kind": kind,
                "sop_class_uid": one.document.sop_class_uid,
                "transfer_syntax_uid": one.transfer_syntax_uid,
                "templates": conformance_objects.templates(one.data_set),
                "coding_schemes": conformance_objects.schemes(one.data_set),
                "character_set": str(one.data_set.get("SpecificCharacterSet", "ISO_IR 6")),
                "attributes": conformance_objects.attributes(one.data_set),
            }
            for kind, one in made.items()
            if one.data_set is not None
        ],
        "private_codes": [
            {"code": code.value, "scheme": code.scheme_designator, "meaning": code.meaning}
            for code in conformance_objects.private_codes()
        ],
        "ihe": [asdict(one) for one in conformance_ihe.claims(settings, made)],
        "ihe_not_claimed": dict(conformance_ihe.NOT_CLAIMED),
    }


def _entity(one: Any) -> dict[str, Any]:  # noqa: ANN401 - of conformance_network, imported late
    found = asdict(one)
    for part in ("initiates", "accepts"):
        for given, service in zip(found[part], getattr(one, part), strict=True):
            given["name"] = service.name
    return found


def _web_services(settings: Settings) -> list[dict[str, str]]:
    """Give the DICOMweb services, of which we are user agent or origin server."""
    site = settings.site
    found = [
        {
            "role": "user agent",
            "service": "STOW-RS Store (PS3.18 10.5); QIDO-RS search of one instance (10.6)",
            "with": f"{one.name} at {one.url}",
        }
        for one in site.destinations
        if one.kind == "stow"
    ]
    if site.ups.manager.enabled:
        where = f"{site.web.host}:{site.web.port}"
        found.append({"role": "origin server", "service": "UPS-RS (PS3.18 11)", "with": where})
    found += _offered(settings)
    found += [
        {
            "role": "user agent",
            "service": "UPS-RS (PS3.18 11)",
            "with": f"{one.name} at {one.url}",
        }
        for one in site.ups.performer.managers
        if one.kind == "web"
    ]
    return found


def _offered(settings: Settings) -> list[dict[str, str]]:
    """Give what is offered for reading on the worklist, and with storing on a server of its own."""
    site, of = settings.site, settings.site.dicomweb
    read = "QIDO-RS Search (PS3.18 10.6); WADO-RS Retrieve (10.4), as docs/dicomweb.md says"
    doors = (
        (of.on_worklist, read, site.web),
        (of.server.enabled, f"STOW-RS Store (PS3.18 10.5); {read}", of.server),
    )
    return [
        {"role": "origin server", "service": what, "with": f"{where.host}:{where.port}"}
        for is_open, what, where in doors
        if is_open
    ]


def _other_interfaces(settings: Settings) -> list[dict[str, str]]:
    """Give what leaves by other standards."""
    words = {
        "mllp": "HL7 v2.5.1 ORU^R01 over MLLP, original acknowledgement mode",
        "fhir": "FHIR R4 (4.0.1) transaction of conditional creates",
        "webhook": "HTTP POST signed by HMAC-SHA256 (Standard Webhooks)",
        "mail": "SMTP (RFC 5321)",
    }
    return [
        {"name": one.name, "interface": words[one.kind], "carries": ", ".join(one.outputs)}
        for one in settings.site.destinations
        if one.kind in words
    ]
