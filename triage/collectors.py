"""Where audit rows go besides the database: Audit Record Repositories (IHE ATNA)."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from triage.destinations import Url
from triage.frozen import Frozen, Port
from triage.tls import TlsPeer


class Syslog(Frozen):
    """A repository that takes DICOM audit messages by syslog (RFC 5424), octet-counted."""

    kind: Literal["syslog"] = "syslog"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    host: str
    port: Port = 6514
    tls: TlsPeer | None = TlsPeer()
    """Null sends in the clear: only inside one machine."""
    deadline_s: PositiveFloat = 20.0


class FhirFeed(Frozen):
    """A repository that takes FHIR AuditEvent resources (ITI-20's RESTful feed)."""

    kind: Literal["fhir"] = "fhir"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    url: Url
    """Of the FHIR service, without /AuditEvent."""
    deadline_s: PositiveFloat = 20.0


Collector = Annotated[Syslog | FhirFeed, Field(discriminator="kind")]


class Audit(Frozen):
    """The audit trail outside the database."""

    source_id: str = "triage"
    """AuditSourceID: which system the messages come from."""
    site_id: str = ""
    """AuditEnterpriseSiteID."""
    retention_years: PositiveInt | None = 6
    """Whole months older than this leave the database for an archive, each night; empty: never."""
    collectors: tuple[Collector, ...] = ()
    batch: int = Field(default=500, gt=0, le=10_000)
    """Rows a connection."""
    pause_s: PositiveFloat = 2.0
    """Between looking for new rows; a repository that is away is tried again after up to 100."""
