"""What each of our application entities negotiates, asked of the very code that negotiates.

The listener's acceptance is found by proposing every SOP class and transfer syntax of the
dictionary to ``triage.receive.negotiation``; what we propose comes from ``triage.dimse``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context

from triage import commitment, dimse
from triage.commands.conformance_objects import Made
from triage.deliver import probe
from triage.destinations import Dimse
from triage.outputs import feedback_report, rejection_note
from triage.receive.negotiation import (
    APPLICATION_CONTEXT,
    AVAILABILITY,
    PERFORMED_STEP,
    STORAGE,
    accepted,
    negotiate,
)
from triage.receive.request import AssociateRequest
from triage.settings import Settings
from triage.ups import events, scp, words
from triage.workflow import DimseManager, WorkManager

PRIVATE: Final = "1.2.3.4.5.6"
"""Stands for the SOP classes of any manufacturer."""
UNKNOWN: Final = "1.2.840.10008.5.1.4.1.1.99999"
"""Stands for a storage class that is newer than the dictionary."""
_N_SERVICES: Final = {
    dimse.VERIFICATION: "C-ECHO",
    commitment.SOP_CLASS: "N-ACTION; N-EVENT-REPORT on an association that we open",
    PERFORMED_STEP: "N-CREATE, N-SET",
    AVAILABILITY: "N-CREATE",
}
_EXAMPLES: Final = {
    PRIVATE: "Any private SOP class, for example",
    UNKNOWN: "Any Storage SOP class newer than the dictionary, for example",
}


@dataclass(frozen=True, slots=True)
class Service:
    """One SOP class of an application entity."""

    sop_class_uid: str
    transfer_syntax_uids: tuple[str, ...]
    role: str
    """"SCU" or "SCP", of us."""
    what: str
    """DIMSE services."""

    @property
    def name(self) -> str:
        """Give the dictionary's name, or the UID."""
        return _EXAMPLES.get(self.sop_class_uid) or UID(self.sop_class_uid).name


@dataclass(frozen=True, slots=True)
class Entity:
    """One application entity of ours, with one peer or with many."""

    name: str
    ae_title: str
    where: str
    """Where it listens, or whom it calls."""
    does: str
    initiates: tuple[Service, ...] = ()
    accepts: tuple[Service, ...] = ()
    policies: Mapping[str, str] | None = None


def entities(settings: Settings, made: Mapping[str, Made]) -> list[Entity]:
    """Give every application entity that the configuration has."""
    site = settings.site
    found = [listener(settings)]
    readers = site.feedback.destinations
    found += [
        sender(one, made, readers=one.name in readers)
        for one in site.destinations
        if isinstance(one, Dimse)
    ]
    if site.ups.manager.enabled:
        found.append(manager(site.ups.manager))
    ours = site.ups.performer
    managers = [one for one in ours.managers if isinstance(one, DimseManager)]
    found += [performer(one) for one in managers]
    if managers and ours.event_port:
        title = managers[0].calling_ae_title
        found.append(_ear(title, f"{ours.event_host}:{ours.event_port}"))
    return found


def listener(settings: Settings) -> Entity:
    """Describe the storage provider, by its own answers to every proposal there is."""
    limits = settings.site.listener
    peers = settings.peers
    who = "any calling AE title" if peers == "any" else f"{len(peers)} configured"
    return Entity(
        name="LISTENER",
        ae_title=limits.ae_title,
        where=f"{limits.host}:{limits.port}",
        does="receives studies and what is said about them; answers when it is safe on disk",
        accepts=tuple(_accepted()),
        policies={
            "callers": who,
            "called AE title is checked": str(limits.check_called_ae_title).lower(),
            "associations at a time": str(limits.max_associations),
            "associations of one address": str(limits.max_associations_per_address),
            "maximum PDU received": f"{limits.max_pdu_bytes} bytes",
            "largest instance": f"{limits.max_instance_bytes} bytes",
            "asynchronous operations": "one at a time, whatever is proposed",
            "of several transfer syntaxes": "the caller's first of those it prefers; deflated and "
            "big endian only where nothing else is offered",
            "user identity, extended negotiation": "passed over",
            "from connection to request": f"{limits.connect_timeout_s:g} s",
            "one PDU": f"{limits.pdu_timeout_s:g} s",
            "silence": f"{limits.idle_timeout_s:g} s",
            "Storage Commitment": promised(settings.site.commitment.keep_days),
        },
    )


def promised(keep_days: float | None) -> str:
    """Say what our own Storage Commitment is worth (PS3.4 J.3.6.2.1)."""
    days = "for ever" if keep_days is None else f"for {keep_days:g} days from the report on"
    return (
        f"what is reported as kept is not deleted, by age or for want of room, {days}; its bytes"
        " are hashed again before the report"
    )


def sender(to: Dimse, made: Mapping[str, Made], *, readers: bool = False) -> Entity:
    """Describe how results go to one PACS; ``readers``: what readers say of them, too."""
    kinds = (*to.outputs, rejection_note.KIND, *([feedback_report.KIND] if readers else []))
    stored = [(kind, made[kind]) for kind in kinds if kind in made]
    pairs = [(one.document.sop_class_uid, one.transfer_syntax_uid) for _, one in stored]
    services = [
        *proposed(pairs, "C-STORE"),
        *proposed([(dimse.STUDY_ROOT_FIND, ImplicitVRLittleEndian)], "C-FIND of one instance"),
        *_probing(),
    ]
    if to.commitment:
        asked = [(commitment.SOP_CLASS, ExplicitVRLittleEndian)]
        services += proposed(asked, "N-ACTION; N-EVENT-REPORT on the same association")
    return Entity(
        name=f"SENDER to {to.name}",
        ae_title=to.calling_ae_title,
        where=f"{to.ae_title} at {to.host}:{to.port}",
        does="sends " + ", ".join(kind for kind, _ in stored)
        + "; asks for what is in doubt before it sends again",
        initiates=tuple(services),
        policies=_outgoing(to.deadline_s),
    )  # fmt: skip


def manager(settings: WorkManager) -> Entity:
    """Describe the manager of work items."""
    syntaxes = tuple(str(one) for one in scp.SYNTAXES)
    does = {
        words.PUSH: "N-CREATE, N-ACTION (request cancel), N-GET",
        words.PULL: "C-FIND, N-GET, N-SET, N-ACTION (change state)",
        words.WATCH: "N-ACTION (subscribe, unsubscribe, suspend), C-FIND, N-GET",
        words.QUERY: "C-FIND",
        scp.VERIFICATION: "C-ECHO",
    }
    tells = proposed([(words.EVENT, ExplicitVRLittleEndian)], "N-EVENT-REPORT")
    return Entity(
        name="UPS MANAGER",
        ae_title=settings.ae_title,
        where=f"{settings.host}:{settings.port}",
        does="keeps work items, and tells subscribers what becomes of them",
        accepts=tuple(Service(uid, syntaxes, "SCP", what) for uid, what in does.items()),
        initiates=tuple(replace(one, role="SCP") for one in tells),
        policies={
            "callers": f"{len(settings.peers)} configured, by AE title, address and role",
            "associations at a time": str(settings.max_associations),
            "maximum PDU received": f"{scp.MAX_PDU_BYTES} bytes",
            "silence": f"{settings.idle_timeout_s:g} s",
        },
    )


def performer(to: DimseManager) -> Entity:
    """Describe how we perform one manager's work items."""
    what = {
        words.PULL: "C-FIND, N-GET, N-SET, N-ACTION (change state)",
        words.WATCH: "N-ACTION (subscribe)",
    }
    services = [
        service
        for uid, does in what.items()
        for service in proposed([(uid, ExplicitVRLittleEndian)], does)
    ]
    return Entity(
        name=f"UPS PERFORMER for {to.name}",
        ae_title=to.calling_ae_title,
        where=f"{to.ae_title} at {to.host}:{to.port}",
        does="claims work items on studies that we hold, and answers for them",
        initiates=tuple(services),
        policies=_outgoing(to.deadline_s),
    )


def _ear(ae_title: str, where: str) -> Entity:
    both = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
    return Entity(
        name="UPS EVENTS",
        ae_title=ae_title,
        where=where,
        does="hears what becomes of work items",
        accepts=(Service(words.EVENT, both, "SCU", "N-EVENT-REPORT"),),
        policies={"associations at a time": str(events.MAX_ASSOCIATIONS)},
    )


def _probing() -> list[Service]:
    """Give what is proposed to find out what a PACS takes (``triage.deliver.probe``)."""
    stores = [(str(one), str(syntax)) for one in probe.STORES for syntax in probe.SYNTAXES]
    asked = [*stores, (commitment.SOP_CLASS, str(ImplicitVRLittleEndian))]
    return [
        *proposed([(dimse.VERIFICATION, ImplicitVRLittleEndian)], "C-ECHO"),
        *proposed(asked, "only proposed, to learn what is accepted"),
    ]


def _outgoing(deadline_s: float) -> dict[str, str]:
    return {
        "associations at a time": "1, for one exchange",
        "maximum PDU received": f"{dimse.MAX_PDU_BYTES} bytes",
        "asynchronous operations": "not proposed",
        "one exchange in all": f"{deadline_s:g} s; then its process is ended",
    }


def proposed(pairs: Iterable[tuple[str, str]], what: str) -> list[Service]:
    """Give what ``dimse.associate`` proposes for these, a presentation context each."""
    return [
        Service(str(one.abstract_syntax), tuple(map(str, one.transfer_syntax)), "SCU", what)
        for one in dimse.proposals(pairs)
    ]


def sop_classes() -> list[str]:
    """Give every SOP class that the dictionary or our negotiation knows, and two it does not."""
    known = [uid for uid, entry in UID_dictionary.items() if "SOP Class" in entry[1]]
    return sorted({*known, *STORAGE, PRIVATE, UNKNOWN})


def transfer_syntaxes() -> list[str]:
    """Give every transfer syntax of the dictionary."""
    return [uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"]


def _accepted() -> Iterator[Service]:
    """Propose every SOP class with every transfer syntax, each by itself.

    What the class before took is asked for one by one, and the rest in one proposal; only where
    that is taken too is every one of the rest asked for.
    """
    plain = AssociateRequest("CALLER", "CALLED", 1, APPLICATION_CONTEXT, (), 0, wants_async=False)
    reporting = replace(plain, asks_commitments=False, reports_commitments=True)
    likely: tuple[str, ...] = ()
    for uid in sop_classes():
        both = uid == commitment.SOP_CLASS
        for request, role in ((plain, "SCP"), (reporting, "SCU"))[: 1 + both]:
            if taken := _taken(uid, request, likely):
                likely = taken
                yield Service(uid, taken, role, _services(uid, role))


def _taken(uid: str, request: AssociateRequest, likely: tuple[str, ...]) -> tuple[str, ...]:
    rest = [one for one in transfer_syntaxes() if one not in likely]
    taken = _answers(uid, request, [[one] for one in likely])
    if _answers(uid, request, [rest]):
        taken += _answers(uid, request, [[one] for one in rest])
    return tuple(one for one in transfer_syntaxes() if one in taken)


def _answers(uid: str, request: AssociateRequest, offers: list[list[str]]) -> list[str]:
    """Give the transfer syntaxes that are taken of so many presentation contexts."""
    taken: list[str] = []
    for start in range(0, len(offers), dimse.MAX_CONTEXTS):
        proposals = [build_context(uid, offer) for offer in offers[start:][: dimse.MAX_CONTEXTS]]
        for number, proposal in enumerate(proposals):
            proposal.context_id = 2 * number + 1
        answers = negotiate(replace(request, proposals=tuple(proposals)))
        taken += [context.transfer_syntax for context in accepted(answers).values()]
    return taken


def _services(uid: str, role: str) -> str:
    if role == "SCU":
        return "N-EVENT-REPORT, of what we asked for"
    return _N_SERVICES.get(uid, "C-STORE")
