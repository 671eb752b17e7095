"""``triage node``: who may send to us and where results go, without editing a file."""

import ipaddress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from db import schema
from db.audit import SUCCESS, Entry, Event, record
from triage import nodes
from triage.commands import common, node_file, send
from triage.commands.node_test import fetch
from triage.destinations import Dimse
from triage.dimse import Peer as Dial
from triage.errors import ConfigError, TriageError
from triage.nodes import Nodes, Peer
from triage.settings import Settings
from triage.tls import TlsPeer, located

ANYWHERE: Final = "any"
WAIT_S: Final = 10.0
"""For each answer of a test: a person waits."""
Kind = TypeVar("Kind", Peer, Dimse)


@dataclass(frozen=True, slots=True)
class Wish:
    """What an application entity is to be for us."""

    ae_title: str
    sources: tuple[str, ...] = ()
    """Addresses and networks it may send from, or "any"; none: it does not send."""
    certificates: tuple[str, ...] = ()
    """Fingerprints, of which it must show one when it sends."""
    to: tuple[str, int] | None = None
    """Host and port where it gets our results; None: it gets none."""
    name: str = ""
    """Of the destination."""
    tls: bool = False
    pin: str = ""
    """Fingerprint of its certificate, or "now" for the one it shows at this moment."""


def add(settings: Settings, wish: Wish) -> list[dict[str, Any]]:
    """Write the node down, audited; gives the entries that are new.

    Raises:
        TriageError: it is already there, or the wish does not make sense.
    """
    with node_file.locked(settings.state):
        known = nodes.read(settings.state / nodes.FILE)
        new = _entries(settings, wish)
        for section, entry in new:
            _refuse_twice(settings, known, section, entry)
            known = _more(known, section, entry)
            given = entry.model_dump(mode="json", exclude_unset=True)
            put = partial(node_file.add, section=section, entry=given, by=common.person())
            node_file.change(settings.state, put, known, settings.readers)
        _audit(settings, "node.added", wish.ae_title, ", ".join(wish.sources))
    return [row for row in rows(known, nodes.FILE) if row["ae_title"] == wish.ae_title]


def remove(settings: Settings, name: str) -> int:
    """Take out every entry of that name or AE title, audited; gives how many.

    Raises:
        TriageError: there is none in nodes.yaml.
    """
    with node_file.locked(settings.state):
        known = nodes.read(settings.state / nodes.FILE)
        count = 0
        for section in ("peers", "destinations"):
            entries = list(getattr(known, section))
            for index in reversed(range(len(entries))):
                if name not in {entries[index].ae_title, getattr(entries[index], "name", "")}:
                    continue
                del entries[index]
                known = known.model_copy(update={section: tuple(entries)})
                take = partial(node_file.remove, section=section, index=index)
                node_file.change(settings.state, take, known, settings.readers)
                count += 1
        if not count:
            raise ConfigError(_not_here(settings, name))
        _audit(settings, "node.removed", name, "")
    return count


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Give every application entity that may send or that gets results."""
    peers = settings.site.listener.peers
    added = {one.name for one in settings.nodes.destinations}
    own = Nodes(
        peers=() if peers == "any" else peers,
        destinations=tuple(one for one in settings.site.destinations if one.name not in added),
    )
    anybody = {**_row("sends", "", "any", "site.yaml"), "where": "anywhere"}
    return [
        *([anybody] if peers == "any" else []),
        *rows(own, "site.yaml"),
        *rows(settings.nodes, nodes.FILE),
    ]


def callee(settings: Settings, name: str, *, tls: bool) -> Dial:
    """Give whom ``triage node test`` is to call.

    Raises:
        ConfigError: nobody of that name, or one that only calls us.
        typer.BadParameter: it is no AE@HOST:PORT.
    """
    if "@" in name:
        of = located(TlsPeer(), settings.state) if tls else None
        return replace(send.parse(name, settings.site.listener.ae_title), tls=of, deadline_s=WAIT_S)
    dimse = [one for one in settings.site.destinations if isinstance(one, Dimse)]
    for one in dimse:
        if name in {one.name, one.ae_title}:
            return one.model_copy(update={"deadline_s": min(WAIT_S, one.deadline_s)})
    peers = () if settings.peers == "any" else settings.peers
    if name in {one.ae_title for one in peers}:
        msg = f"{name} only sends to us; `triage doctor` tells who was refused"
        raise ConfigError(msg)
    names = ", ".join(one.name for one in dimse) or "none"
    msg = f"there is no DICOM destination {name}; there are: {names}; or say AE@HOST:PORT"
    raise ConfigError(msg)


def rows(known: Nodes, file: str) -> list[dict[str, Any]]:
    """Give one line for each thing that each node does."""
    found = []
    for peer in known.peers:
        where = ", ".join(peer.addresses) or "anywhere"
        tls = "with its certificate" if peer.certificates else ""
        found.append({**_row("sends", "", peer.ae_title, file), "where": where, "tls": tls})
    for to in known.destinations:
        if not isinstance(to, Dimse):
            continue
        tls = "" if to.tls is None else "pinned" if to.tls.pins else "by authority"
        row = _row("receives", to.name, to.ae_title, file)
        found.append({**row, "where": f"{to.host}:{to.port}", "tls": tls})
    return found


def _row(does: str, name: str, ae_title: str, file: str) -> dict[str, Any]:
    return {"does": does, "name": name, "ae_title": ae_title, "where": "", "tls": "", "in": file}


def _entries(settings: Settings, wish: Wish) -> list[tuple[str, Peer | Dimse]]:
    if not wish.sources and wish.to is None:
        msg = "say --from ADDRESS (it may send to us), --to HOST:PORT (it gets results), or both"
        raise TriageError(msg)
    new: list[tuple[str, Peer | Dimse]] = []
    if wish.sources:
        new.append(("peers", _peer(wish)))
    if wish.to is not None:
        new.append(("destinations", _destination(settings, wish, wish.to)))
    return new


def _peer(wish: Wish) -> Peer:
    given: dict[str, Any] = {"ae_title": wish.ae_title}
    if wish.sources != (ANYWHERE,):
        for one in wish.sources:
            _check_address(one)
        given["addresses"] = wish.sources
    if wish.certificates:
        given["certificates"] = wish.certificates
    return _checked(Peer, given)


def _check_address(one: str) -> None:
    try:
        ipaddress.ip_network(one, strict=False)
    except ValueError:
        msg = f"--from {one}: write an IP address, a network such as 10.0.0.0/24, or any"
        raise TriageError(msg) from None


def _destination(settings: Settings, wish: Wish, to: tuple[str, int]) -> Dimse:
    ours = settings.site.listener.ae_title
    given: dict[str, Any] = {
        "name": wish.name or wish.ae_title.lower(),
        "ae_title": wish.ae_title,
        "host": to[0],
        "port": to[1],
        **({"calling_ae_title": ours} if ours != "TRIAGE" else {}),
    }
    if wish.tls or wish.pin:
        pin = wish.pin
        if pin == "now":
            pin = fetch(located(TlsPeer(), settings.state), *to)
        given["tls"] = {"pins": [pin]} if pin else {}
    return _checked(Dimse, given)


def _checked(kind: type[Kind], given: dict[str, Any]) -> Kind:
    try:
        return kind.model_validate(given)
    except ValidationError as why:
        first = why.errors(include_input=False, include_url=False)[0]
        msg = f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}"
        raise TriageError(msg) from None


def _more(known: Nodes, section: str, entry: Peer | Dimse) -> Nodes:
    return known.model_copy(update={section: (entry, *getattr(known, section))})


def _refuse_twice(settings: Settings, known: Nodes, section: str, entry: Peer | Dimse) -> None:
    names = {one.name for one in (*settings.site.destinations, *known.destinations)}
    if isinstance(entry, Dimse) and entry.name in names:
        msg = f"there is a destination {entry.name}; give this one another --name"
        raise TriageError(msg)
    if entry in getattr(known, section):
        msg = f"{entry.ae_title} is already let in from there"
        raise TriageError(msg)


def _not_here(settings: Settings, name: str) -> str:
    site = settings.site
    peers = () if site.listener.peers == "any" else site.listener.peers
    own = {one.ae_title for one in peers} | {one.name for one in site.destinations}
    where = "it is in site.yaml: take it out there" if name in own else "see `triage node ls`"
    return f"{nodes.FILE} has no {name}; {where}"


def _audit(settings: Settings, kind: str, ae_title: str, address: str) -> None:
    """Write who changed what; before the first start there is no trail, and the file says it."""
    if schema.current(settings.database_url) is None:
        return
    entry = Entry(
        event=Event.SECURITY_ALERT, kind=kind, outcome=SUCCESS, actor=common.person(),
        ae_title=ae_title[:16], network_address=address[:64], object_type="node",
        object_id=ae_title[:64],
    )  # fmt: skip
    with common.opened(settings) as database, database.begin() as session:
        record(session, entry)
