"""Whom ``triage node test`` calls: everything that a node does for us, each at its own place."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from triage.commands import send
from triage.commands.checks import Check
from triage.commands.node_rows import ANSWERS, COUNTS, PRIORS, RECEIVES
from triage.commands.node_test import find, get, move, report, run, store
from triage.destinations import Dimse
from triage.dimse import Peer as Dial
from triage.dimse import Remote
from triage.errors import ConfigError
from triage.evidence import counts
from triage.priors import asking
from triage.settings import Settings, named
from triage.tls import TlsPeer, located

WAIT_S: Final = 10.0
"""For each answer of a test: a person waits."""


@dataclass(frozen=True, slots=True)
class Call:
    """One place to call, and what we want there beside TCP, TLS and C-ECHO."""

    name: str
    does: str
    to: Dial
    services: tuple[Callable[[Dial], Check], ...]


def tried(found: list[Call]) -> list[Check]:
    """Try every call; of several, each line says which it is."""
    if len(found) == 1:
        return run(found[0].to, found[0].services)
    return [
        replace(line, name=f"{one.name} {one.does}: {line.name}")
        for one in found
        for line in run(one.to, one.services)
    ]


def calls(settings: Settings, name: str, *, tls: bool) -> list[Call]:
    """Give what there is to call of that name or AE title.

    Raises:
        ConfigError: nobody of that name, or one that only calls us.
        typer.BadParameter: it is no AE@HOST:PORT.
    """
    ours = settings.site.listener.ae_title
    if "@" in name:
        of = located(TlsPeer(), settings.state) if tls else None
        to = replace(send.parse(name, ours), tls=of, deadline_s=WAIT_S)
        return [Call(name, RECEIVES, to, (find, store))]
    known = list(every(settings))
    if found := [one for one in known if name in {one.name, one.to.ae_title}]:
        return found
    peers = () if settings.peers == "any" else settings.peers
    if name in {one.ae_title for one in peers}:
        msg = f"{name} only sends to us; `triage doctor` tells who was refused"
        raise ConfigError(msg)
    names = ", ".join(dict.fromkeys(one.name for one in known)) or "none"
    msg = f"there is no DICOM destination {name}; there are: {names}; or say AE@HOST:PORT"
    raise ConfigError(msg)


def every(settings: Settings) -> Iterator[Call]:
    """Give every place that the site calls by DIMSE, with the patience of a person."""
    site, ours = named(settings.site), settings.site.listener.ae_title
    for to in site.destinations:
        if isinstance(to, Dimse):
            soon = to.model_copy(update={"deadline_s": min(WAIT_S, to.deadline_s)})
            yield Call(to.name, RECEIVES, soon, (find, store))
    for source in site.count_sources:
        yield Call(source.name, COUNTS, _soon(counts.remote(source)), (find,))
    for one in site.requesters:
        there = Remote(one.ae_title, one.host, one.port, ours, one.deadline_s, one.tls)
        yield Call(one.ae_title, ANSWERS, _soon(there), (report,))
    for prior in site.prior_sources:
        fetch = get if prior.method == "get" else move
        yield Call(prior.name, PRIORS, _soon(asking.remote(prior)), (find, fetch))


def _soon(to: Remote) -> Remote:
    return replace(to, deadline_s=min(WAIT_S, to.deadline_s))
