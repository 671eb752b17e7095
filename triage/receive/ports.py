"""What the processes of one listener have in common: sockets that listen, and places."""

import socket
from typing import Final, NamedTuple

from triage.errors import ConfigError
from triage.receive.slots import Slots
from triage.settings import Settings

BACKLOG: Final = 512


class Shared(NamedTuple):
    """What several processes of one listener have in common."""

    plain: socket.socket | None
    tls: socket.socket | None
    slots: Slots

    @property
    def port(self) -> int:
        """Give the plain port, 0 where it is closed."""
        return _port(self.plain)

    @property
    def tls_port(self) -> int:
        """Give the TLS port, 0 where it is closed."""
        return _port(self.tls)

    def close(self) -> None:
        """Close the sockets: what waits on them is refused once no process has them open."""
        for one in (self.plain, self.tls):
            if one is not None:
                one.close()


def share(settings: Settings, *, is_secured: bool) -> Shared:
    """Open what the processes of one listener have in common, before they are forked.

    One socket for all of them, and not one each by SO_REUSEPORT: the kernel would bind a
    connection to a process by a hash, and a process that is busy, stopped or dead would keep its
    share of them waiting. So whoever is free takes the next one.

    Raises:
        ConfigError: an address cannot be bound.
    """
    limits = settings.site.listener
    is_plain = limits.tls.plain or not is_secured
    plain = _bind(limits.host, limits.port) if is_plain else None
    tls = _bind(limits.host, limits.tls.port) if is_secured else None
    return Shared(plain, tls, Slots(limits))


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as why:
        msg = f"site.yaml: listener: cannot listen on {host} port {port}: {why.strerror}"
        raise ConfigError(msg) from None
    server.settimeout(0)
    return server


def _port(server: socket.socket | None) -> int:
    return int(server.getsockname()[1]) if server is not None else 0
