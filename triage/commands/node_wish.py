"""What ``triage node add`` is told of one application entity, and the entries that come of it."""

import ipaddress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from triage.commands.node_test import fetch
from triage.completeness import Requester, Source
from triage.destinations import Dimse
from triage.errors import TriageError
from triage.frozen import Frozen
from triage.nodes import Peer
from triage.prior_sources import PriorSource
from triage.settings import Settings
from triage.tls import TlsPeer, located

ANYWHERE: Final = "any"
NOTHING: Final = (
    "say --from ADDRESS (it may send to us), --to HOST:PORT (it gets results), --counts HOST:PORT "
    "(it is asked how many instances a study has), --answers HOST:PORT (it hears whether we keep "
    "what it sent), --priors HOST:PORT (it is asked for older studies), or several of them"
)
Place = tuple[str, int]
"""Host and port."""
Entry = Peer | Dimse | Source | Requester | PriorSource
Kind = TypeVar("Kind", bound=Frozen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an application entity is to be for us."""

    ae_title: str
    addresses: tuple[str, ...] = ()
    """Addresses and networks it may send from, or "any"; none: it does not send."""
    certificates: tuple[str, ...] = ()
    """Fingerprints, of which it must show one when it sends."""
    to: Place | None = None
    """Where it gets our results; None: it gets none."""
    counts: Place | None = None
    """Where it is asked how many instances a study has."""
    of: tuple[str, ...] = ()
    """Calling AE titles whose studies it can count; none: anybody's."""
    answers: Place | None = None
    """Where it hears our answers to its requests for Storage Commitment."""
    priors: Place | None = None
    """Where it is asked for older studies."""
    name: str = ""
    """Of the destination and of the sources."""
    tls: bool = False
    pin: str = ""
    """Fingerprint of its certificate, or "now" for the one it shows at this moment."""

    @property
    def is_called(self) -> bool:
        """Tell whether we shall call it."""
        return any((self.to, self.counts, self.answers, self.priors))


def entries(settings: Settings, wish: Wish) -> list[tuple[str, Entry]]:
    """Give the entries with the sections of nodes.yaml that they go into.

    Raises:
        TriageError: the wish does not make sense.
    """
    _check(wish)
    new: list[tuple[str, Entry]] = []
    if wish.addresses:
        new.append(("peers", _peer(wish)))
    if wish.to is not None:
        new.append(("destinations", _named(Dimse, settings, wish, wish.to)))
    if wish.counts is not None:
        of = {"of": wish.of} if wish.of else {}
        new.append(("count_sources", _named(Source, settings, wish, wish.counts, **of)))
    if wish.answers is not None:
        given = {"ae_title": wish.ae_title, **_place(settings, wish, wish.answers)}
        new.append(("requesters", _checked(Requester, given)))
    if wish.priors is not None:
        new.append(("prior_sources", _named(PriorSource, settings, wish, wish.priors)))
    return new


def _check(wish: Wish) -> None:
    if not (wish.addresses or wish.is_called):
        raise TriageError(NOTHING)
    if wish.of and wish.counts is None:
        msg = "--of says whose studies it counts: say --counts HOST:PORT too"
        raise TriageError(msg)
    if (wish.tls or wish.pin) and not wish.is_called:
        msg = "--tls and --pin are for calls: say where it is called, for example --to HOST:PORT"
        raise TriageError(msg)


def _peer(wish: Wish) -> Peer:
    given: dict[str, Any] = {"ae_title": wish.ae_title}
    if wish.addresses != (ANYWHERE,):
        for one in wish.addresses:
            _check_address(one)
        given["addresses"] = wish.addresses
    if wish.certificates:
        given["certificates"] = wish.certificates
    return _checked(Peer, given)


def _check_address(one: str) -> None:
    try:
        ipaddress.ip_network(one, strict=False)
    except ValueError:
        msg = f"--from {one}: write an IP address, a network such as 10.0.0.0/24, or any"
        raise TriageError(msg) from None


def _named(kind: type[Kind], settings: Settings, wish: Wish, at: Place, **more: object) -> Kind:
    ours = settings.site.listener.ae_title
    given = {
        "name": wish.name or wish.ae_title.lower(),
        "ae_title": wish.ae_title,
        **_place(settings, wish, at),
        **({"calling_ae_title": ours} if ours != "TRIAGE" else {}),
        **more,
    }
    return _checked(kind, given)


def _place(settings: Settings, wish: Wish, at: Place) -> dict[str, Any]:
    given: dict[str, Any] = {"host": at[0], "port": at[1]}
    if wish.tls or wish.pin:
        pin = wish.pin
        if pin == "now":
            pin = fetch(located(TlsPeer(), settings.state), *at)
        given["tls"] = {"pins": [pin]} if pin else {}
    return given


def _checked(kind: type[Kind], given: dict[str, Any]) -> Kind:
    try:
        return kind.model_validate(given)
    except ValidationError as why:
        first = why.errors(include_input=False, include_url=False)[0]
        msg = f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}"
        raise TriageError(msg) from None
