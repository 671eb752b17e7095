"""``triage node``: who may send to us and whom we call, without editing a file."""

from typing import Any, Final

from db import schema
from db.audit import SUCCESS, Event, record
from db.audit import Entry as Happened
from triage import nodes
from triage.commands import common, node_file
from triage.commands.node_rows import SENDS, row, rows
from triage.commands.node_wish import Entry, Wish, entries
from triage.completeness import Requester
from triage.errors import ConfigError, TriageError
from triage.nodes import CALLED, Nodes, Peer, label, without
from triage.settings import Settings, named

SECTIONS: Final = ("peers", *CALLED)


def add(settings: Settings, wish: Wish) -> list[dict[str, Any]]:
    """Write the node down, audited; gives the entries that are new.

    Raises:
        TriageError: it is already there, or the wish does not make sense.
    """
    with node_file.locked(settings.state):
        known, added = nodes.read(settings.state / nodes.FILE), Nodes()
        new = entries(settings, wish)
        for section, entry in new:
            _refuse_twice(settings, known, section, entry)
            known, added = _more(known, section, entry), _more(added, section, entry)

        def put(text: str) -> str:
            for section, entry in new:
                given = entry.model_dump(mode="json", exclude_unset=True)
                text = node_file.add(text, section, given, by=common.person())
            return text

        node_file.change(settings.state, put, known, settings.readers)
        _audit(settings, "node.added", wish.ae_title, added)
    return [one for one in rows(known, nodes.FILE) if one["ae_title"] == wish.ae_title]


def remove(settings: Settings, name: str) -> int:
    """Take out every entry of that name or AE title, audited; gives how many.

    Raises:
        TriageError: there is none in nodes.yaml.
    """
    with node_file.locked(settings.state):
        known = nodes.read(settings.state / nodes.FILE)
        going = [
            (section, index)
            for section in SECTIONS
            for index, one in reversed(list(enumerate(getattr(known, section))))
            if name in _names(one)
        ]
        if not going:
            raise ConfigError(_not_here(settings, name))
        left, gone = known, Nodes()
        for section, index in going:
            entry = getattr(known, section)[index]
            left, gone = _less(left, section, index), _more(gone, section, entry)

        def take(text: str) -> str:
            for section, index in going:
                text = node_file.remove(text, section, index)
            return text

        node_file.change(settings.state, take, left, settings.readers)
        _audit(settings, "node.removed", name, gone)
    return len(going)


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Give every application entity that may send, or that we call."""
    own = without(named(settings.site), settings.nodes)
    anybody = [row(SENDS, "any", "anywhere", "site.yaml")]
    return [
        *(anybody if settings.peers == "any" else []),
        *rows(own, "site.yaml"),
        *rows(settings.nodes, nodes.FILE),
    ]


def _more(known: Nodes, section: str, entry: Entry) -> Nodes:
    return known.model_copy(update={section: (entry, *getattr(known, section))})


def _less(known: Nodes, section: str, index: int) -> Nodes:
    entries = getattr(known, section)
    return known.model_copy(update={section: (*entries[:index], *entries[index + 1 :])})


def _names(entry: Entry) -> set[str]:
    return {getattr(entry, "ae_title", ""), getattr(entry, "name", "")} - {""}


def _refuse_twice(settings: Settings, known: Nodes, section: str, entry: Entry) -> None:
    if isinstance(entry, Peer):
        if entry in known.peers:
            msg = f"{entry.ae_title} is already let in from there"
            raise TriageError(msg)
        return
    others = (*getattr(named(settings.site), section), *getattr(known, section))
    name = label(entry)
    if name not in {label(one) for one in others}:
        return
    msg = f"there is a {CALLED[section]} {name}; give this one another --name"
    if isinstance(entry, Requester):
        msg = f"{name} gets our answers already; `triage node rm {name}` takes it out"
    raise TriageError(msg)


def _not_here(settings: Settings, name: str) -> str:
    site = named(settings.site)
    own = {known for section in SECTIONS for one in getattr(site, section) for known in _names(one)}
    where = "it is in site.yaml: take it out there" if name in own else "see `triage node ls`"
    return f"{nodes.FILE} has no {name}; {where}"


def _audit(settings: Settings, kind: str, name: str, what: Nodes) -> None:
    """Write who changed what; before the first start there is no trail, and the file says it."""
    if schema.current(settings.database_url) is None:
        return
    lines = rows(what, nodes.FILE)
    address = ", ".join(one["where"] for one in lines if one["does"] == SENDS)
    entry = Happened(
        event=Event.SECURITY_ALERT, kind=kind, outcome=SUCCESS, actor=common.person(),
        ae_title=name[:16], network_address=address[:64], object_type="node", object_id=name[:64],
        detail={"entries": [f"{one['does']} {one['where']}" for one in lines]},
    )  # fmt: skip
    with common.opened(settings) as database, database.begin() as session:
        record(session, entry)
