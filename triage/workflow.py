"""Work items in the settings: managers whose items we perform, and the manager that we are."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Discriminator, Field, PositiveFloat, PositiveInt, Tag

from triage.frozen import AETitle, Frozen, Port
from triage.tls import ServerTls, TlsPeer

Role = Literal["requester", "performer", "watcher"]
"""What a program or application entity may do: create and ask to cancel; claim, update and
finish; subscribe. Each may read."""
EVERY_ROLE: Final[tuple[Role, ...]] = ("requester", "performer", "watcher")


def _http(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        msg = "a URL begins with http:// or https://"
        raise ValueError(msg)
    return value.rstrip("/")


class WorkPeer(Frozen):
    """An application entity that our manager serves."""

    ae_title: AETitle
    addresses: tuple[str, ...] = ()
    """Allowed source addresses; empty means any."""
    roles: tuple[Role, ...] = EVERY_ROLE
    host: str = ""
    port: Port = 0
    """Where its event reports go; without it, it may not subscribe by DIMSE."""
    tls: TlsPeer | None = None
    """Send them over TLS."""


class WorkManager(Frozen):
    """The manager that we are: UPS-RS on the worklist's server, DIMSE on a port of its own."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Port = 11114
    ae_title: AETitle = "TRIAGE_UPS"
    tls: ServerTls | None = None
    """The port takes calls over TLS, and no others; ``{}`` is enough after ``triage tls init``."""
    peers: tuple[WorkPeer, ...] = ()
    """Who may associate; nobody else is accepted."""
    max_associations: PositiveInt = 8
    max_message_bytes: PositiveInt = 4_194_304
    """Of one association's data in all, before it is aborted."""
    max_results: PositiveInt = 500
    idle_timeout_s: PositiveFloat = 30.0
    event_retry_s: PositiveFloat = 10.0
    keep_events_s: PositiveFloat = 604_800.0
    """An event nobody took is dropped after this long."""
    keep_items_days: PositiveFloat = 90.0
    """A finished item is deleted after this long, unless a deletion lock holds it."""

    @property
    def keep_items(self) -> timedelta:
        """Give ``keep_items_days``."""
        return timedelta(days=self.keep_items_days)


class OtherManager(Frozen):
    """What every manager whose items we perform has."""

    name: str
    deadline_s: PositiveFloat = 30.0
    codes: tuple[str, ...] = ("110004", "110003")
    """Scheduled Workitem Codes that we take (CID 9231); empty means any."""


class DimseManager(OtherManager):
    """A manager spoken to by DIMSE."""

    kind: Literal["dimse"] = "dimse"
    ae_title: AETitle
    host: str
    port: Port
    calling_ae_title: AETitle = "TRIAGE"
    tls: TlsPeer | None = None
    """Call it over TLS."""


class WebManager(OtherManager):
    """A manager spoken to by UPS-RS (PS3.18 11)."""

    kind: Literal["web"] = "web"
    url: Annotated[str, AfterValidator(_http)]
    """Of the service, without /workitems."""
    ae_title: AETitle = "TRIAGE"
    """By which we subscribe."""
    token_file: Path | None = None
    """Of mode 0600; sent as a bearer token."""
    ca_file: Path | None = None


def _kind(given: Any) -> str:  # noqa: ANN401 - whatever the file holds
    found = given.get("kind", "dimse") if isinstance(given, dict) else given.kind
    return str(found)


Manager = Annotated[
    Annotated[DimseManager, Tag("dimse")] | Annotated[WebManager, Tag("web")],
    Discriminator(_kind),
]


class Performer(Frozen):
    """We as the performer of other managers' work items."""

    managers: tuple[Manager, ...] = ()
    station_name: str = Field(default="TRIAGE", max_length=64)
    """Code Value of Performed Station Name Code Sequence, in our own scheme."""
    event_host: str = "127.0.0.1"
    event_port: Port = 11115
    """Where event reports reach us; 0 takes none, and cancel requests are not heard by DIMSE."""
    poll_s: PositiveFloat = 5.0
    lease_s: PositiveFloat = 120.0
    """One exchange with a manager ends within it, or its process is ended."""
    retry_longest_s: PositiveFloat = 600.0


class Workflow(Frozen):
    """``ups`` in site.yaml."""

    manager: WorkManager = WorkManager()
    performer: Performer = Performer()


class Feedback(Frozen):
    """``feedback`` in site.yaml: readers' words as reports of their own."""

    destinations: tuple[str, ...] = ()
    """Names of DICOM destinations that receive them; empty sends none."""
    settle_s: PositiveFloat = 300.0
    """A reader's words are sent once nothing was added for this long."""
