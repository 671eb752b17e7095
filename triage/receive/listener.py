"""The listener: a C-STORE and C-ECHO provider that needs a disk and nothing else.

No database, no broker, no tensors in this process: whatever else is down, modalities can send.
"""

import contextvars
import gc
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from triage import log
from triage.errors import ConfigError
from triage.nodes import FILE as NODES
from triage.receive.admission import Door, remedy
from triage.receive.association import Agreement, Association
from triage.receive.crew import Crew
from triage.receive.lobby import MAX_VISITORS, Lobby
from triage.receive.negotiation import (
    VERIFICATION,
    Rejection,
    acceptance,
    accepted,
    negotiate,
)
from triage.receive.part10 import Caller
from triage.receive.pdu import Wire
from triage.receive.ports import Shared, share
from triage.receive.request import AssociateRequest
from triage.receive.storage import Storage
from triage.receive.tls import Gate, certificate_of, open_gate
from triage.settings import Settings
from triage.spool import Spool, has_room
from triage.stopping import on_stop_signal

FINISH_S: Final = 25.0
"""For messages under way when asked to stop; a supervisor kills after 30 s."""
FLUSH_S: Final = 1.0
DESCRIPTORS_PER_ASSOCIATION: Final = 5
SPARE_DESCRIPTORS: Final = 128
MOST_PROCESSES: Final = 4
"""Unless the site wants more: the disk and the network are busy before."""


class Listener:
    """A listening socket, its lobby, and its associations."""

    def __init__(self, settings: Settings, shared: Shared | None = None) -> None:
        """Make the spool's folders, and bind unless the sockets are shared.

        Raises:
            ConfigError: the address cannot be bound, or a peer's address is none.
            OSError: the spool cannot be written.
        """
        self._limits = settings.site.listener
        self.spool = Spool(settings.spool, settings.readers)
        self._storage = Storage(self.spool, self._limits)
        self._door = Door(self._limits, settings.state / NODES)
        self._stop_read, self._stop_write = os.pipe()
        self._stopped = False
        self._gate = open_gate(self._limits.tls, self.spool.journal)
        shared = shared or share(settings, is_secured=self._gate is not None)
        self._slots = shared.slots
        self.port, self.tls_port = shared.port, shared.tls_port
        self._accepting: list[threading.Thread] = []
        for server, gate in ((shared.plain, None), (shared.tls, self._gate)):
            if server is not None and (gate is not None or server is shared.plain):
                self._open(server, gate)

    def start(self) -> None:
        """Start accepting."""
        for one in self._accepting:
            one.start()

    @property
    def is_alive(self) -> bool:
        """Tell whether connections are still accepted, on every port."""
        return all(one.is_alive() for one in self._accepting)

    @property
    def associations(self) -> int:
        """Give how many places are taken."""
        return self._slots.taken

    def stop(self, within_s: float = FINISH_S) -> None:
        """Accept no more, let every message under way be answered, and end.

        A message that is not whole when the time is up was never acknowledged; its sender
        sends it again.
        """
        if self._stopped:
            return
        self._stopped = True
        deadline = time.monotonic() + within_s
        os.write(self._stop_write, b"\0")
        for one in self._accepting:
            one.join(within_s)
        while self._slots.taken and time.monotonic() < deadline:
            time.sleep(0.01)
        self.report(last=True)
        with suppress(OSError):  # the next start sees to it
            self.spool.ready.tidy()
        if not self._slots.taken and not any(one.is_alive() for one in self._accepting):
            os.close(self._stop_read)
            os.close(self._stop_write)

    def report(self, *, last: bool = False) -> None:
        """Write the security events since the last time to the journal, and a line for each."""
        if self._gate is not None:
            self._gate.refresh()
        try:
            events = self.spool.journal.flush(last=last)
        except OSError as why:
            log.get().error("journal.failed", errno=why.errno)
            return
        for one in events:
            facts = {"code": one.code, "ae_title": one.ae_title, "address": one.address}
            log.get().warning(one.kind, **facts, count=one.count, **remedy(one))

    def renew(self) -> None:
        """Make files ready in place of those that were used, where it is quiet."""
        try:
            made = self.spool.ready.renew(self._limits.ready_files, self._has_plenty)
        except (OSError, MemoryError) as why:
            log.get().warning("ready.failed", errno=getattr(why, "errno", None))
            return
        if made:
            log.get().debug("ready.made", files=made)

    def _has_plenty(self) -> bool:
        """Tell whether files made ahead take no room from what comes."""
        return has_room(self.spool.root, 2 * self._limits.min_free_bytes)

    def _open(self, server: socket.socket, gate: Gate | None) -> None:
        """Give a listening socket a lobby of its own."""
        lobby = Lobby(server, self._limits, self.spool.journal, self._decide, gate)
        self._accepting.append(self._thread(lambda: lobby.run(self._stop_read)))

    def _decide(
        self, peer: socket.socket, address: tuple[str, int], request: AssociateRequest
    ) -> Rejection | None:
        refusal = self._door.refusal(request, address[0], certificate_of(peer))
        if refusal is None and not self._can_serve(request):
            refusal = Rejection.CONGESTION
        if refusal is None and not self._slots.take(address[0]):
            refusal = Rejection.LOCAL_LIMIT
        if refusal is not None:
            return refusal
        is_served = False
        try:
            association = self._associate(peer, address, request)
            self._thread(lambda: self._serve(association, address[0])).start()
            is_served = True
        except (OSError, RuntimeError):  # the peer has gone, or the system has no more threads
            peer.close()
        finally:
            if not is_served:
                self._slots.give(address[0])
        return None

    def _can_serve(self, request: AssociateRequest) -> bool:
        """Tell whether there is room for what may come, or a C-ECHO to answer without."""
        if self._storage.has_room():
            return True
        contexts = accepted(negotiate(request)).values()
        return any(one.abstract_syntax == VERIFICATION for one in contexts)

    def _associate(
        self, peer: socket.socket, address: tuple[str, int], request: AssociateRequest
    ) -> Association:
        names = request.calling_ae_title, request.called_ae_title
        answers = negotiate(request)
        agreement = Agreement(
            caller=Caller(*names, *address, *peer.getsockname()[:2]),
            contexts=accepted(answers),
            max_answer_bytes=request.max_pdu_bytes,
            acceptance=acceptance(request, answers, self._limits.max_pdu_bytes),
        )
        wire = Wire(peer, self._limits, self._stop_read)
        return Association(wire, agreement, self._storage, self.spool.journal)

    def _serve(self, association: Association, address: str) -> None:
        try:
            association.run()
        finally:
            self._slots.give(address)

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        """Make a thread that logs under this one's service name and dies with the process."""
        context = contextvars.copy_context()
        return threading.Thread(target=lambda: context.run(work), daemon=True)


def serve(settings: Settings, *, ready: Callable[[int], None] | None = None) -> None:
    """Listen until SIGTERM or SIGINT; then finish the messages under way.

    For a process of its own: it sets the umask, the limits and the signal handlers. ``ready`` is
    told the port once connections are accepted.

    Raises:
        ConfigError: the address cannot be bound, or the spool cannot be written.
        RuntimeError: connections are no longer accepted, which is a bug; start again.
    """
    _harden(settings)
    limits = settings.site.listener
    count = limits.processes or min(MOST_PROCESSES, os.cpu_count() or 1)
    try:
        spool = Spool(settings.spool, settings.readers)
        found = {"recovered": spool.recover(after_all=True), "swept": spool.sweep()}
    except OSError as why:
        msg = f"the spool {settings.spool} cannot be written: {why.strerror}"
        raise ConfigError(msg) from None
    _open_ready(spool, limits.ready_files)
    if count == 1:
        _listen(settings, None, lambda one: _tell(one.port, one.tls_port, found, ready))
        return
    _settle_memory()
    gate = open_gate(limits.tls, spool.journal)
    shared = share(settings, is_secured=gate is not None)
    crew = Crew(
        count,
        work=lambda tell: _listen(settings, shared, lambda _: tell()),
        bury=lambda pid: _bury(pid, shared, spool),
        leave=shared.close,
    )
    ports = shared.port, shared.tls_port
    crew.run(lambda: _tell(*ports, found, ready), FINISH_S + FLUSH_S)
    log.get().info("listener.stopped")


def _open_ready(spool: Spool, most: int) -> None:
    """Make the folder of files made ready, and leave so many in it.

    Without it each file is made when it is needed.
    """
    try:
        spool.ready.open()
        spool.ready.drop(most)
    except OSError as why:
        log.get().warning("ready.off", errno=why.errno, page="docs/hardening.md")


def _listen(settings: Settings, shared: Shared | None, started: Callable[[Listener], None]) -> None:
    """Listen in this process until SIGTERM or SIGINT."""
    stopping = on_stop_signal()
    listener = Listener(settings, shared)
    _settle_memory()
    listener.start()
    started(listener)
    while not stopping.wait(FLUSH_S) and listener.is_alive:
        listener.report()
        listener.renew()
    failed = not listener.is_alive
    listener.stop()
    if failed:
        msg = "the listener no longer accepts connections"
        raise RuntimeError(msg)
    if shared is None:
        log.get().info("listener.stopped")


def _tell(
    port: int, tls_port: int, found: dict[str, int], ready: Callable[[int], None] | None
) -> None:
    log.get().info("listener.ready", port=port, tls_port=tls_port, **found)
    if ready is not None:
        ready(port or tls_port)


def _bury(pid: int, shared: Shared, spool: Spool) -> None:
    """Free what a process that died had taken: its associations' places and its files."""
    shared.slots.forget(pid)
    with suppress(OSError):
        spool.recover(after_all=False)
    with suppress(OSError):
        spool.sweep()


def _settle_memory() -> None:
    """Leave what was imported out of garbage collection: it stays, and forked it stays shared."""
    gc.collect()
    gc.freeze()


def _harden(settings: Settings) -> None:
    """Private files, no core dumps with patients in them, and a bound on descriptors."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = settings.site.listener.max_associations * DESCRIPTORS_PER_ASSOCIATION
    wanted = most + MAX_VISITORS + SPARE_DESCRIPTORS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
