"""A server of its own for programs, apart from the pages: uploads must not make a reader wait.

It keeps the listener's promise with the listener's means: no tensors, no broker, and a database
only for who asks. It writes rows neither for what it stores nor for what it refuses.
"""

import asyncio
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from db.engine import Database
from triage import log
from triage.dicomweb.reading import Reading
from triage.dicomweb.shell import Shell
from triage.dicomweb.stow import Store
from triage.dicomweb.visitors import Doorkeeper
from triage.errors import ConfigError
from triage.settings import Settings
from triage.spool import Spool
from triage.tls import SUITES

ROOT: Final = "/dicomweb"
FLUSH_S: Final = 1.0
GRACE_S: Final = 25
MAX_HEAD_BYTES: Final = 32_768
MAX_CONNECTIONS: Final = 128
HEAD_TIMEOUT_S: Final = 10.0
"""From the connection to a whole request's head."""


class Patient(H11Protocol):
    """A connection that is closed when no request comes over it in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self.loop.call_later(HEAD_TIMEOUT_S, self._look)

    def _look(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def make_app(settings: Settings, database: Database, spool: Spool, reading: Reading) -> Shell:
    """Give the application: POST stores, GET queries and retrieves."""
    of = settings.site.dicomweb.server
    store = Store(settings, Doorkeeper(database, remember_s=of.remember_tokens_s), spool)
    routes = [
        Route("/studies", store.serve, methods=["POST"]),
        Route("/studies/{study}", store.serve, methods=["POST"]),
        *reading.routes(),
    ]
    return Shell(Starlette(routes=[Mount(ROOT, routes=routes)]))


def serve(
    settings: Settings, database: Database, *, ready: Callable[[int], None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished.

    For a process of its own: it sets the umask and the limits. ``ready`` is told the port.

    Raises:
        ConfigError: the spool cannot be written, or the certificate cannot be read.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    of = settings.site.dicomweb.server
    try:
        spool = Spool(settings.spool, settings.readers)
    except OSError as why:
        msg = f"the spool {settings.spool} cannot be written: {why.strerror}"
        raise ConfigError(msg) from None
    reading = Reading(settings, database, Doorkeeper(database))
    config = uvicorn.Config(
        make_app(settings, database, spool, reading),
        host=of.host,
        port=of.port,
        http=Patient,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        limit_concurrency=MAX_CONNECTIONS,
        ssl_certfile=of.tls_certificate_file,
        ssl_keyfile=of.tls_key_file,
        ssl_ciphers=SUITES,
    )
    try:
        config.load()
    except OSError as why:
        msg = f"site.yaml: dicomweb.server: the certificate or its key: {why.strerror}"
        raise ConfigError(msg) from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _do_nothing)  # uvicorn ends by itself, then raises it once more
    try:
        with _flushing(spool):
            _Server(config, ready).run()
    finally:
        reading.close()


def _do_nothing(_number: int, _frame: object) -> None:
    """Go on to the end of the program."""


class _Server(uvicorn.Server):
    """A server that says when and where it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[int], None] | None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Start, then tell the port."""
        await super().startup(sockets)
        if not self.started:
            return
        port = self.servers[0].sockets[0].getsockname()[1]
        log.get().info("dicomweb.ready", port=port)
        if self._ready is not None:
            self._ready(port)


@contextmanager
def _flushing(spool: Spool) -> Iterator[None]:
    """Have the journal written every second, and once more at the end."""
    stop = threading.Event()

    def flush() -> None:
        while not stop.wait(FLUSH_S):
            _flush(spool)

    thread = threading.Thread(target=flush, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        _flush(spool)


def _flush(spool: Spool) -> None:
    try:
        events = spool.journal.flush()
    except OSError as why:
        log.get().error("journal.failed", errno=why.errno)
        return
    for one in events:
        log.get().warning(one.kind, code=one.code, address=one.address, count=one.count)
