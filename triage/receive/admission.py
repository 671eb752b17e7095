"""Who may associate, and how many at a time: decided from the A-ASSOCIATE-RQ alone."""

import ipaddress
from pathlib import Path

from triage import log
from triage.errors import ConfigError
from triage.nodes import Nodes, Peer, allowed, let_in
from triage.nodes import read as read_nodes
from triage.receive.negotiation import APPLICATION_CONTEXT, Rejection, accepted, negotiate
from triage.receive.request import AssociateRequest, is_ae_title
from triage.settings import Listener as Limits
from triage.spool import JournalEvent

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Door:
    """The allow-list: known calling AE titles from known addresses, and our own name."""

    def __init__(self, limits: Limits, known: Path | None = None) -> None:
        """Read the peers; those of the file ``known`` again whenever it changes.

        Raises:
            ConfigError: an address is neither an address nor a network.
        """
        self._limits = limits
        self._known = known
        self._stamp = self._look()
        self._peers = self._read()

    def refusal(
        self, request: AssociateRequest, address: str, certificate: str = ""
    ) -> Rejection | None:
        """Tell why this peer is not let in; None when it is.

        ``certificate`` is the fingerprint of the one it showed.
        """
        called, calling = request.called_ae_title, request.calling_ae_title
        ours = {self._limits.ae_title, self._limits.prior_ae_title}
        wrong_name = self._limits.check_called_ae_title and called not in ours
        checks = (
            (not request.protocol_version & 1, Rejection.PROTOCOL_VERSION),
            (request.application_context != APPLICATION_CONTEXT, Rejection.APPLICATION_CONTEXT),
            (not is_ae_title(called) or wrong_name, Rejection.CALLED_AE_TITLE),
            (not is_ae_title(calling), Rejection.CALLING_AE_TITLE),
            (not self.knows(calling, address, certificate), Rejection.CALLING_AE_TITLE),
            (not accepted(negotiate(request)), Rejection.NO_CONTEXT),
        )
        return next((rejection for fails, rejection in checks if fails), None)

    def knows(self, ae_title: str, address: str, certificate: str = "") -> bool:
        """Tell whether this title may call from this address, with this certificate."""
        self._refresh()
        if self._peers is None:
            return True
        here = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(here, "ipv4_mapped", None) or here
        return any(
            (not networks or any(mapped in network for network in networks))
            and (not peer.certificates or certificate in peer.certificates)
            for peer, networks in self._peers
            if peer.ae_title == ae_title
        )

    def _refresh(self) -> None:
        """Take up what ``triage node`` changed; what cannot be read changes nothing."""
        if (stamp := self._look()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._peers = self._read()
        except ConfigError as why:
            log.get().error("nodes.not-read", why=str(why))
        else:
            log.get().info("nodes.read", peers=len(self._peers or ()))

    def _look(self) -> tuple[int, int] | None:
        try:
            facts = self._known.stat() if self._known else None
        except OSError:
            return None
        return facts and (facts.st_mtime_ns, facts.st_size)

    def _read(self) -> list[tuple[Peer, list[Network]]] | None:
        nodes = read_nodes(self._known) if self._known else Nodes()
        peers = allowed(self._limits.peers, nodes)
        return None if peers == "any" else [(peer, _networks(peer)) for peer in peers]


def remedy(event: JournalEvent) -> dict[str, str]:
    """Give the command that lets a refused peer in, for the log; empty for any other event."""
    if event.kind != "association.rejected" or event.code != Rejection.CALLING_AE_TITLE.name:
        return {}
    return {"fix": let_in(event.ae_title, event.address)}


def _networks(peer: Peer) -> list[Network]:
    try:
        return [ipaddress.ip_network(one, strict=False) for one in peer.addresses]
    except ValueError:
        msg = (
            f"site.yaml: listener.peers: {peer.ae_title}: addresses: write IP addresses such "
            "as 10.0.0.5 or networks such as 10.0.0.0/24"
        )
        raise ConfigError(msg) from None
