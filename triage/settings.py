"""The site's nouns: read once from YAML and the environment, frozen, checked at the start.

An error names the file and the key.

Order, later wins: the packaged ``configs/``, the site's configuration folder (``--config``,
``TRIAGE_CONFIG``, or ``STATE/configs``), then environment variables such as
``TRIAGE__LISTENER__PORT=11113``.
"""

import copy
import os
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import platformdirs
import yaml
from pydantic import (
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from triage import yaml_text
from triage.accounts import Accounts
from triage.collectors import Audit
from triage.completeness import Commitment, Evidence
from triage.destinations import Delivery, Destinations
from triage.errors import ConfigError
from triage.frozen import AETitle, Frozen, Port
from triage.nodes import FILE as NODES
from triage.nodes import Nodes, Peers, allowed, joined
from triage.nodes import read as read_nodes
from triage.prior_sources import Priors
from triage.reading import Reading
from triage.retention import Retention
from triage.routing import Disagreement, Level, Policy, Recipe, Route, Routes, When
from triage.sharing import Readers, Sharing, readers
from triage.tls import TlsPort, located
from triage.trust import Trust
from triage.web_services import DicomWeb
from triage.workflow import Feedback, Workflow

__all__ = ["Disagreement", "Level", "Policy", "Recipe", "Route", "Routes", "When"]
"""What is here from another file, so that who reads the configuration finds it in one place."""
DEFAULT_STATE: Final = Path(platformdirs.user_data_dir("triage"))
PACKAGED: Final = Path(__file__).parents[1] / "configs"
ENV_PREFIX: Final = "TRIAGE__"
Model = TypeVar("Model", bound=BaseModel)


class Listener(Frozen):
    """The C-STORE SCP and its guards."""

    host: str = "127.0.0.1"
    port: Port = 11112
    ae_title: AETitle = "TRIAGE"
    prior_ae_title: AETitle | None = None
    """A second title of ours: what is sent to it by C-MOVE is a prior, and is never triaged."""
    check_called_ae_title: bool = True
    peers: Peers = ()
    """Who may associate, beside those that ``triage node add`` let in."""
    tls: TlsPort = TlsPort()
    processes: NonNegativeInt = 0
    """How many accept on the port; 0 takes one for each core, four at most."""
    max_associations: PositiveInt = 32
    max_associations_per_address: PositiveInt = 8
    """Both count over all processes."""
    max_pdu_bytes: PositiveInt = 131_072
    max_associate_pdu_bytes: PositiveInt = 1_048_576
    max_instance_bytes: PositiveInt = 4_294_967_296
    connect_timeout_s: PositiveFloat = 5.0
    """From TCP connect to a whole A-ASSOCIATE-RQ."""
    pdu_timeout_s: PositiveFloat = 10.0
    """From a PDU's first byte to its last, in all."""
    idle_timeout_s: PositiveFloat = 30.0
    ready_files: NonNegativeInt = 512
    """Files of 644 KiB made ahead, at most, where twice ``min_free_bytes`` are free."""
    min_free_bytes: PositiveInt = 1_073_741_824
    """Below this much free space in the spool a C-STORE is answered 0xA700, and who comes to store
    is turned away for now."""


class Database(Frozen):
    """Where the rows are. Empty url means SQLite in the state folder."""

    url: str = ""


class Broker(Frozen):
    """Celery's Redis. Empty url means local worker processes without a broker."""

    url: str = ""


class Work(Frozen):
    """Leases, attempts and the pace of the loops."""

    lease_s: PositiveFloat = 30.0
    """Renewed by a heartbeat while a worker lives."""
    wall_limit_s: PositiveFloat = 900.0
    """A step running longer ends its process."""
    max_attempts: PositiveInt = 3
    """Crashes or expired leases before a study is failed."""
    max_tries: PositiveInt = 430
    """Postponements before a study is failed: about 72 hours with the longest wait."""
    retry_first_s: PositiveFloat = 10.0
    retry_longest_s: PositiveFloat = 600.0
    poll_s: PositiveFloat = 0.1
    reconcile_s: PositiveFloat = 2.0
    republish_s: PositiveFloat = 30.0
    overdue_after_s: PositiveFloat = 900.0
    cpu_workers: PositiveInt = 1
    gpu_workers: PositiveInt = 1
    out_workers: PositiveInt = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Decode(Frozen):
    """Limits of the child process that touches pixel data."""

    max_pixels: PositiveInt = 2_000_000_000
    """Rows x Columns x Frames x Samples of one series."""
    max_memory_bytes: PositiveInt = 4_294_967_296
    max_seconds: PositiveFloat = 120.0


class Completeness(Evidence):
    """What is believed of a study's completeness; else how long it must be quiet."""

    quiet_s: PositiveFloat = 30.0
    quiet_s_by_modality: dict[str, PositiveFloat] = Field(default={})


class Web(Frozen):
    """The worklist's server."""

    host: str = "127.0.0.1"
    port: Port = 8080
    session_idle_s: PositiveFloat = 900.0
    session_absolute_s: PositiveFloat = 43_200.0
    secure_cookies: bool = False
    """True behind TLS; adds Secure and the __Host- prefix."""
    accounts: Accounts = Accounts()


class IntendedUse(Frozen):
    """``triage`` marks no location anywhere; ``research`` may, under a banner."""

    mode: Literal["triage", "research"] = "triage"


class Reporting(Frozen):
    """What is written into the reports."""

    manufacturer: str = "Triage"
    institution_name: str = ""
    not_analysed: bool = False
    """Also send a report for studies that were not analysed."""
    failed: bool = False
    """Also send a report for studies whose analysis failed."""
    map_frames: PositiveInt = 32
    """Research mode: at most this many frames of a series, the strangest, as a parametric map."""
    region_from: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Research mode: a region is where the map is at least this share of its highest value."""
    notice_identifiers: tuple[
        Literal["study_instance_uid", "accession_number", "patient_id"], ...
    ] = ("study_instance_uid",)
    """What webhooks and mails name a study by. Never a name."""
    fhir_updates_study: bool = False
    """A report on a later content also updates the ImagingStudy, whoever made it."""


class Site(BaseSettings):
    """site.yaml, over which environment variables win."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_nested_delimiter="__"
    )

    listener: Listener = Listener()
    destinations: Destinations = ()
    delivery: Delivery = Delivery()
    database: Database = Database()
    broker: Broker = Broker()
    work: Work = Work()
    decode: Decode = Decode()
    completeness: Completeness = Completeness()
    web: Web = Web()
    intended_use: IntendedUse = IntendedUse()
    reporting: Reporting = Reporting()
    ups: Workflow = Workflow()
    feedback: Feedback = Feedback()
    commitment: Commitment = Commitment()
    dicomweb: DicomWeb = DicomWeb()
    priors: Priors = Priors()
    reading: Reading = Reading()
    retention: Retention = Retention()
    audit: Audit = Audit()
    sharing: Sharing = Sharing()
    trust: Trust = Trust()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the names are pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file."""
        return env_settings, init_settings


class Settings(Frozen):
    """Everything the processes are told, and the state folder they share."""

    state: Path
    config: Path
    site: Site
    routes: Routes
    policy: Policy
    recipes: dict[str, Recipe]
    nodes: Nodes = Nodes()
    """What ``triage node add`` wrote; whom we call by it is in the site as well."""

    @property
    def peers(self) -> Peers:
        """Give who may associate."""
        return allowed(self.site.listener.peers, self.nodes)

    @property
    def spool(self) -> Path:
        """Give the folder of received bytes."""
        return self.state / "spool"

    @property
    def results(self) -> Path:
        """Give the folder of anomaly maps, which are kept in research mode only."""
        return self.state / "results"

    @property
    def secrets(self) -> Path:
        """Give the folder of key files, mode 0700; of this service alone where the site says so."""
        return self.state / "secrets" / self.site.sharing.secrets

    @property
    def readers(self) -> Readers:
        """Give who may read what this process writes."""
        return readers(self.site.sharing)

    @property
    def checkpoints(self) -> Path:
        """Give the file that remembers the audit chain outside the database."""
        return self.state / "audit.checkpoints"

    @property
    def bridges(self) -> Path:
        """Give the file that says what was taken out of the audit trail on purpose."""
        return self.state / "audit.retired"

    @cached_property
    def database_url(self) -> str:
        """Give SQLAlchemy's URL; SQLite in the state folder unless the site names another."""
        return self.site.database.url or f"sqlite:///{self.state / 'triage.sqlite'}"

    @property
    def artifacts(self) -> tuple[Path, ...]:
        """Give the folders searched for trained artifacts: the site's own, then those that ship."""
        return (self.state / "artifacts", Path(str(files("models").joinpath("zoo"))))


def load(state: Path | None = None, config: Path | None = None) -> Settings:
    """Read, merge and check the whole configuration.

    Raises:
        ConfigError: a file is missing, is no YAML, or a key is unknown or wrong.
    """
    state = (state or Path(os.environ.get("TRIAGE_STATE", DEFAULT_STATE))).expanduser().absolute()
    config = _config_folder(state, config)
    _refuse_unknown_variables()
    known = read_nodes(state / NODES)
    return Settings(
        state=state,
        config=config,
        nodes=known,
        site=_with(known, located(_parse(Site, config, "site.yaml"), state), state),
        routes=_parse(Routes, config, "routes.yaml"),
        policy=_parse(Policy, config, "policy.yaml"),
        recipes={
            path.stem: _parse(Recipe, path.parent, path.name, {"name": path.stem})
            for path in sorted(_folder(config, "recipes").glob("*.yaml"))
        },
    )


def named(site: Site) -> Nodes:
    """Give the site's nodes as nodes.yaml has them; without peers where anybody may send."""
    peers = site.listener.peers
    sections = {
        "peers": () if peers == "any" else peers,
        "destinations": site.destinations,
        "count_sources": site.completeness.sources,
        "requesters": site.commitment.requesters,
        "prior_sources": site.priors.sources,
    }
    return Nodes().model_copy(update=sections)


def _with(known: Nodes, site: Site, state: Path) -> Site:
    """Give the site with those of nodes.yaml whom we call behind its own."""
    both = joined(named(site), located(known, state), state / NODES)
    parts = {
        "destinations": both.destinations,
        "completeness": site.completeness.model_copy(update={"sources": both.count_sources}),
        "commitment": site.commitment.model_copy(update={"requesters": both.requesters}),
        "priors": site.priors.model_copy(update={"sources": both.prior_sources}),
    }
    return site.model_copy(update=parts)


def _refuse_unknown_variables() -> None:
    """Refuse a variable that names no section of site.yaml: below one, pydantic refuses it."""
    for name in os.environ:
        section = name.removeprefix(ENV_PREFIX).split("__")[0].lower()
        if name.startswith(ENV_PREFIX) and section not in Site.model_fields:
            msg = f"environment variable {name}: site.yaml has no section {section}"
            raise ConfigError(msg)


def _config_folder(state: Path, config: Path | None) -> Path:
    if config is None and (named := os.environ.get("TRIAGE_CONFIG")):
        config = Path(named)
    if config is None:
        return state / "configs" if (state / "configs").is_dir() else PACKAGED
    if not config.is_dir():
        msg = (
            f"no configuration folder at {config}; copy the packaged one with `triage config init`"
        )
        raise ConfigError(msg)
    return config.absolute()


def _folder(config: Path, name: str) -> Path:
    return config / name if (config / name).is_dir() else PACKAGED / name


def _parse(
    model: type[Model], folder: Path, name: str, given: dict[str, Any] | None = None
) -> Model:
    path = folder / name if (folder / name).is_file() else PACKAGED / name
    try:
        return model(**{**_mapping(path), **(given or {})})
    except OSError as why:
        msg = f"cannot read {path}: {why.strerror}"
        raise ConfigError(msg) from None
    except (yaml.YAMLError, UnicodeDecodeError) as why:
        msg = f"{path} is not valid YAML: {str(why).splitlines()[0]}"
        raise ConfigError(msg) from None
    except SettingsError as why:
        msg = f"environment over {path}: {why}"
        raise ConfigError(msg) from None
    except ValidationError as why:
        first = why.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        msg = f"{path}: {key}: {first['msg']} ({why.error_count()} wrong); see `triage config show`"
        raise ConfigError(msg) from None


def _mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level must be keys and values; an empty file has none."""
    content = copy.deepcopy(_content(path.read_text(encoding="utf-8")))
    if content is None:
        return {}
    if not isinstance(content, dict):
        msg = f"{path} is not a mapping of keys to values; see `triage config show`"
        raise ConfigError(msg)
    return {str(key): value for key, value in content.items()}


@lru_cache(maxsize=64)
def _content(text: str) -> Any:  # noqa: ANN401 - YAML
    """Read each text once: of all that is done here, this takes the longest by far."""
    return yaml_text.read(text)
