"""What ``triage node ls`` shows: one line for each thing that each node does."""

from typing import Any, Final

from triage.completeness import Requester
from triage.destinations import Dimse
from triage.nodes import Asked, Nodes, label
from triage.tls import TlsPeer

SENDS: Final = "sends"
RECEIVES: Final = "receives"
COUNTS: Final = "counts"
ANSWERS: Final = "gets answers"
PRIORS: Final = "has priors"


def rows(known: Nodes, file: str) -> list[dict[str, Any]]:
    """Give one line for each thing that each node does."""
    found = []
    for peer in known.peers:
        where = ", ".join(peer.addresses) or "anywhere"
        tls = "with its certificate" if peer.certificates else ""
        found.append(row(SENDS, peer.ae_title, where, file, tls=tls))
    found += [_called(RECEIVES, one, file) for one in known.destinations if isinstance(one, Dimse)]
    for source in known.count_sources:
        found.append({**_called(COUNTS, source, file), "of": ", ".join(source.of)})
    found += [_called(ANSWERS, one, file) for one in known.requesters]
    found += [_called(PRIORS, one, file) for one in known.prior_sources]
    return found


def row(
    does: str, ae_title: str, where: str, file: str, *, name: str = "", tls: str = ""
) -> dict[str, Any]:
    """Give one line."""
    return {
        "does": does, "name": name, "ae_title": ae_title, "where": where, "of": "", "tls": tls,
        "in": file,
    }  # fmt: skip


def _called(does: str, one: Dimse | Asked, file: str) -> dict[str, Any]:
    name = "" if isinstance(one, Requester) else label(one)
    where = f"{one.host}:{one.port}"
    return row(does, one.ae_title, where, file, name=name, tls=_trusted(one.tls))


def _trusted(of: TlsPeer | None) -> str:
    return "" if of is None else "pinned" if of.pins else "by authority"
