"""What we negotiate with the sources of priors, asked of the code that asks them."""

from pydicom.uid import ImplicitVRLittleEndian

from triage import dimse
from triage.commands.conformance_network import Entity, Service, proposed
from triage.prior_sources import PriorSource
from triage.priors import asking
from triage.settings import Settings


def fetchers(settings: Settings) -> list[Entity]:
    """Describe how older studies are found and fetched, source by source."""
    return [_fetcher(one, settings) for one in settings.site.priors.sources]


def _fetcher(source: PriorSource, settings: Settings) -> Entity:
    find = proposed([(dimse.STUDY_ROOT_FIND, ImplicitVRLittleEndian)], "C-FIND of studies, series")
    title = settings.site.listener.prior_ae_title
    policies = {
        "requests": f"{source.budget.requests_per_hour} an hour at most",
        "bytes": f"{source.budget.bytes_per_day} a day at most",
        "time of day": source.budget.window,
        "one prior in all": f"{source.budget.deadline_s:g} s; then the association is aborted",
    }
    if source.method == "move":
        policies["Move Destination"] = title or "none configured"
    return Entity(
        name=f"FETCHER from {source.name}",
        ae_title=source.calling_ae_title,
        where=f"{source.ae_title} at {source.host}:{source.port}",
        does="finds the last comparable study of a patient and fetches it for comparison",
        initiates=(*find, *_retrieval(source)),
        accepts=_stored() if source.method == "get" else (),
        policies=policies,
    )


def _retrieval(source: PriorSource) -> list[Service]:
    is_get = source.method == "get"
    model = asking.STUDY_ROOT_GET if is_get else asking.STUDY_ROOT_MOVE
    return proposed([(model, ImplicitVRLittleEndian)], "C-GET" if is_get else "C-MOVE")


def _stored() -> tuple[Service, ...]:
    """Give what comes over our own association, where we are the provider by role selection."""
    syntaxes = (*map(str, asking.SYNTAXES), str(ImplicitVRLittleEndian))
    classes = (*asking.EVERY, *asking.COMMON)
    what = "C-STORE over the association of the C-GET"
    return tuple(Service(str(one), syntaxes, "SCP", what) for one in classes)
