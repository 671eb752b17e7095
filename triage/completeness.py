"""What tells a site that a study is complete, and who may ask us to keep what they sent."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from triage.frozen import AETitle, Frozen, Port, refuse_twice
from triage.tls import TlsPeer


class Source(Frozen):
    """A PACS that is asked by C-FIND how many instances a study has."""

    name: str
    ae_title: AETitle
    host: str
    port: Port
    calling_ae_title: AETitle = "TRIAGE"
    deadline_s: PositiveFloat = 10.0
    tls: TlsPeer | None = None
    of: tuple[AETitle, ...] = ()
    """Calling AE titles whose studies it can count; empty is any."""
    max_per_minute: PositiveInt = 60
    """Questions, in all."""


def _sources(ones: tuple[Source, ...]) -> tuple[Source, ...]:
    names = [one.name for one in ones]
    refuse_twice(names, "sources of counts", "questions and budgets are kept by the name")
    return ones


Sources = Annotated[tuple[Source, ...], AfterValidator(_sources)]


class Expected(Frozen):
    """What a complete study of a kind holds at least. Words are upper case."""

    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    min_series: NonNegativeInt = 0
    min_images: NonNegativeInt = 0
    descriptions: tuple[str, ...] = ()
    """Each must occur in the description of some series."""
    quiet_s: PositiveFloat | None = None
    """Once all of it is here, this silence is enough; empty is the usual one."""


class Learning(Frozen):
    """The quiet period of a station, from the pauses within its last studies."""

    enabled: bool = True
    min_studies: PositiveInt = 20
    """Fewer, and the configured quiet period holds."""
    factor: PositiveFloat = 3.0
    """Times the pause that 95 % of the studies do not exceed."""
    shortest_s: PositiveFloat = 5.0
    longest_s: PositiveFloat = 300.0


class Urgent(Frozen):
    """Which studies go before others, and by how much: a limit, so that nothing starves."""

    ae_titles: tuple[AETitle, ...] = ()
    """Calling AE titles whose studies are urgent."""
    words: tuple[str, ...] = ("STAT",)
    """Upper case; one of them in the study or series description."""
    head_start_s: PositiveInt = 3600
    """An urgent study goes before one that has waited for less than this."""


class Evidence(Frozen):
    """What is believed about completeness, beside silence."""

    sources: Sources = ()
    expected: tuple[Expected, ...] = ()
    learning: Learning = Learning()
    urgent: Urgent = Urgent()
    incomplete: Literal["hold", "analyse"] = "hold"
    """What becomes of a study of which something says that not all is here."""
    incomplete_after_s: PositiveFloat = 600.0
    """After the last instance."""
    in_progress_at_most_s: PositiveFloat = 3600.0
    """A performed step that never ends holds its study open for this long after an instance."""
    count_after_s: PositiveFloat = 1.0
    """From the last instance to the first question to its source."""
    count_confirm_s: PositiveFloat = 2.0
    """Between two equal answers, which are needed: a source may be receiving, too."""


class Requester(Frozen):
    """Who may ask us for Storage Commitment, and where it hears our report."""

    ae_title: AETitle
    host: str
    port: Port
    deadline_s: PositiveFloat = 30.0
    tls: TlsPeer | None = None


def _requesters(ones: tuple[Requester, ...]) -> tuple[Requester, ...]:
    titles = [one.ae_title for one in ones]
    refuse_twice(titles, "requesters", "an answer goes by the AE title")
    return ones


Requesters = Annotated[tuple[Requester, ...], AfterValidator(_requesters)]


class Commitment(Frozen):
    """Storage Commitment as a provider (PS3.4 J)."""

    requesters: Requesters = ()
    """Beside the destinations, whose own AE titles may ask as well."""
    retry_first_s: PositiveFloat = 5.0
    retry_longest_s: PositiveFloat = 600.0
    give_up_after_s: PositiveFloat = Field(default=259_200.0)
    """From the request: three days."""
    keep_days: PositiveFloat | None = None
    """How long what we reported as kept is not deleted, from the report on; empty: for ever. Who
    asked may have deleted its own. Holds for what was reported before, too."""
