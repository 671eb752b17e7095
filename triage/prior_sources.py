"""``priors`` in site.yaml: where older studies come from, how much, when, and which compare."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from triage.frozen import AETitle, Frozen, Port, refuse_twice
from triage.tls import TlsPeer


def _window(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", value):
        msg = "write a time of day as HH:MM-HH:MM, for example 19:00-06:30"
        raise ValueError(msg)
    return value


class PriorBudget(Frozen):
    """How much one source may be asked for. What is used up comes again with time."""

    requests_per_hour: PositiveInt = 240
    """C-FIND, C-GET and C-MOVE requests together."""
    bytes_per_day: PositiveInt = 20_000_000_000
    """Of the last 24 hours."""
    window: Annotated[str, AfterValidator(_window)] = "00:00-23:59"
    """Local time of day, both ends included; it may go over midnight."""
    deadline_s: PositiveFloat = 300.0
    """For one prior, in all."""


class PriorSource(Frozen):
    """A PACS that is asked for older studies."""

    name: str
    ae_title: AETitle
    host: str
    port: Port
    calling_ae_title: AETitle = "TRIAGE"
    method: Literal["get", "move"] = "get"
    """C-GET brings instances over our own association; C-MOVE has them sent to our listener,
    under ``listener.prior_ae_title``."""
    issuer_of_patient_id: str = ""
    """Whose Patient IDs the source holds, where its headers do not say it."""
    timeout_s: PositiveFloat = 30.0
    """For one message."""
    tls: TlsPeer | None = None
    """Call it over TLS."""
    budget: PriorBudget = PriorBudget()


def _sources(ones: tuple[PriorSource, ...]) -> tuple[PriorSource, ...]:
    names = [one.name for one in ones]
    refuse_twice(names, "sources of priors", "budgets are kept by the name")
    return ones


PriorSources = Annotated[tuple[PriorSource, ...], AfterValidator(_sources)]


class Comparable(Frozen):
    """Which older series compare with a study: every condition given must hold."""

    modality: tuple[str, ...]
    """Of the study at hand, and of the older series."""
    with_modality: tuple[str, ...] = ()
    """Of the older series, where it may be another one."""
    body_part: tuple[str, ...] = ()
    """Body Part Examined of both, any of these; empty: both name the same."""
    description_any: tuple[str, ...] = ()
    """Words of which one must occur in the older study's or series' description, where that names
    no body part."""


class Priors(Frozen):
    """``priors`` in site.yaml."""

    sources: PriorSources = ()
    comparable: tuple[Comparable, ...] = (
        Comparable(
            modality=("CR", "DX"),
            with_modality=("CR", "DX"),
            body_part=("CHEST", "THORAX"),
            description_any=("chest", "thorax", "lung"),
        ),
        Comparable(
            modality=("CT",),
            body_part=("CHEST", "THORAX", "LUNG"),
            description_any=("chest", "thorax", "lung"),
        ),
        Comparable(
            modality=("CT",),
            body_part=("HEAD", "BRAIN", "SKULL"),
            description_any=("head", "brain", "skull", "cranial"),
        ),
        Comparable(
            modality=("MR",),
            body_part=("HEAD", "BRAIN", "SKULL"),
            description_any=("head", "brain", "skull", "cranial"),
        ),
    )
    """The first whose modality and body part fit the study at hand decides."""
    max_age_days: PositiveInt = 3_650
    max_instances: PositiveInt = 3_000
    """A larger prior is passed over."""
    candidates: Annotated[int, Field(ge=1, le=50)] = 10
    """Of the patient's older studies, newest first, how many are looked into."""
    require_birth_date: bool = True
    """A prior without a birth date, or for a study without one, is not taken."""
    keep_days: PositiveInt = 30
    """Then a prior's files go; its row stays."""
    max_tries: PositiveInt = 48
    retry_s: PositiveFloat = 60.0
    """Before the second try; each further one waits twice as long, an hour at most."""
    poll_s: PositiveFloat = 2.0
