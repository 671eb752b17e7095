"""Where results go: one class for each way of sending, told apart by ``kind`` in site.yaml.

A destination without a ``kind`` is a PACS that takes C-STORE. Secrets are never written into the
configuration: a setting that ends in ``_file`` names a file of mode 0600 that holds one.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Discriminator, PositiveFloat, Tag, TypeAdapter

from triage.frozen import AETitle, Frozen, Port, refuse_twice
from triage.tls import TlsPeer


def _http(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        msg = "write a whole address, beginning with https:// (or http:// inside one machine)"
        raise ValueError(msg)
    return value


Url = Annotated[str, AfterValidator(_http)]


class Common(Frozen):
    """What every destination has."""

    name: str
    outputs: tuple[str, ...] = ()
    """Keys of OUTPUTS: what is built for this destination."""
    deadline_s: PositiveFloat = 30.0
    """For one object, in all; then the sending process is killed."""


class Dicom(Common):
    """What the two ways to a PACS share."""

    outputs: tuple[str, ...] = ("structured_report",)


class Dimse(Dicom):
    """A PACS that receives our results by C-STORE."""

    kind: Literal["dimse"] = "dimse"
    ae_title: AETitle
    host: str
    port: Port
    calling_ae_title: AETitle = "TRIAGE"
    tls: TlsPeer | None = None
    """Call it over TLS."""
    commitment: bool = False
    """Ask by Storage Commitment for each object, and say "committed" only after its report. The
    PACS must know our calling AE title, and the listener's address as where its reports go."""
    commitment_linger_s: PositiveFloat = 0.5
    """Keep the association open this long for a PACS that reports on the one it was asked on."""
    commitment_retry_s: PositiveFloat = 3600.0
    """Without a report after this long, ask again."""
    commitment_timeout_s: PositiveFloat = 86_400.0
    """Without a report after this long, a person is told."""


class ClientTls(Frozen):
    """Whom we believe over HTTPS, MLLP or SMTP with TLS, and who we say we are."""

    ca_file: Path | None = None
    """Instead of the system's certificate authorities."""
    certificate_file: Path | None = None
    """Ours in PEM, where the other side asks for one; then those up to its authority."""
    key_file: Path | None = None
    """Of mode 0600; left out where it is in ``certificate_file``."""


class Stow(Dicom, ClientTls):
    """A DICOMweb server that receives our results by STOW-RS (PS3.18 10.5)."""

    kind: Literal["stow"] = "stow"
    url: str
    """Of the service, without /studies."""
    user: str = ""
    password_file: Path | None = None
    token_file: Path | None = None
    """Sent as a bearer token."""


class Mllp(Common, ClientTls):
    """A RIS or an interface engine that receives HL7 v2 messages over MLLP."""

    kind: Literal["mllp"] = "mllp"
    outputs: tuple[Literal["hl7_oru"], ...] = ("hl7_oru",)
    host: str
    port: Port
    receiving_application: str = ""
    """MSH-5."""
    receiving_facility: str = ""
    """MSH-6."""
    tls: bool = False
    """Speak TLS; so it does too where ``ca_file`` or ``certificate_file`` is named."""


class Fhir(Common, ClientTls):
    """A FHIR R4 server that receives transaction bundles."""

    kind: Literal["fhir"] = "fhir"
    outputs: tuple[Literal["fhir_bundle"], ...] = ("fhir_bundle",)
    url: Url
    """Of the service base."""
    token_file: Path | None = None


class Webhook(Common, ClientTls):
    """A URL that receives signed JSON."""

    kind: Literal["webhook"] = "webhook"
    outputs: tuple[Literal["webhook", "plain_text", "hl7_oru", "fhir_bundle"], ...] = ("webhook",)
    url: Url
    secret_file: Path
    """The key of the signature: 24 bytes or more, or whsec_ and base64."""


class Mail(Common, ClientTls):
    """A mail server that takes messages for some people."""

    kind: Literal["mail"] = "mail"
    outputs: tuple[Literal["mail"], ...] = ("mail",)
    host: str
    port: Port = 587
    sender: str
    recipients: tuple[str, ...]
    starttls: bool = True
    user: str = ""
    password_file: Path | None = None


class Delivery(Frozen):
    """What holds for all destinations."""

    reject_superseded: bool = False
    """Send a rejection note for the old report once the new one has arrived (IHE IOCM)."""
    probe_every_s: PositiveFloat = 86_400.0
    """How often each PACS is asked what it takes."""


@dataclass(frozen=True, slots=True)
class Capability:
    """What a destination said about one service, SOP class and transfer syntax."""

    service: str
    """tcp, echo, associate, find, commitment, store or query."""
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    accepted: bool = field(default=False, kw_only=True)
    detail: str = field(default="", kw_only=True)


def _kind(value: Any) -> str:  # noqa: ANN401 - a mapping from YAML, or a destination
    if isinstance(value, dict):
        return str(value.get("kind", "dimse"))
    return str(getattr(value, "kind", "dimse"))


Destination = Annotated[
    Annotated[Dimse, Tag("dimse")]
    | Annotated[Stow, Tag("stow")]
    | Annotated[Mllp, Tag("mllp")]
    | Annotated[Fhir, Tag("fhir")]
    | Annotated[Webhook, Tag("webhook")]
    | Annotated[Mail, Tag("mail")],
    Discriminator(_kind),
]
"""Any of them."""
ANY: Final[TypeAdapter[Destination]] = TypeAdapter(Destination)
"""Reads one from a mapping."""


def _distinct(ones: tuple[Destination, ...]) -> tuple[Destination, ...]:
    names = [one.name for one in ones]
    refuse_twice(names, "destinations", "what was sent is remembered by the name")
    return ones


Destinations = Annotated[tuple[Destination, ...], AfterValidator(_distinct)]
