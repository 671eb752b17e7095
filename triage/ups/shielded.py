"""The manager's port behind TLS: each caller shakes hands in a thread of its own."""

from functools import partial
from typing import Any, Final

from pynetdicom import AE
from pynetdicom.transport import RequestHandler

from triage import log
from triage.errors import ConfigError
from triage.tls import Dialled, ServerTls, server_context

SHAKE_S: Final = 10.0
"""For a whole handshake, as for a whole request after it."""


class Shielded(AE):
    """An application entity whose port speaks nothing but TLS.

    pynetdicom's own ``ssl_context`` shakes hands in the thread that accepts, without a deadline:
    one silent caller would shut everybody out.
    """

    def __init__(self, ae_title: str, of: ServerTls) -> None:
        """Look whether the files go together.

        Raises:
            ConfigError: they do not.
        """
        server_context(of)
        super().__init__(ae_title=ae_title)
        self._of = of

    def make_server(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - pynetdicom's own
        """Give a server that hands no connection on before its handshake."""
        handler = partial(_Caller, self._of)
        server: Any = super().make_server(*given, **named, request_handler=handler)
        server.daemon_threads = True  # a stop waits for no handshake
        return server


class _Caller(RequestHandler):
    def __init__(self, of: ServerTls, *given: Any) -> None:  # noqa: ANN401 - pynetdicom's own
        self._of = of
        super().__init__(*given)

    def handle(self) -> None:
        """Shake hands with the files as they are now; without that nothing is heard or said."""
        try:
            trust = server_context(self._of)
        except ConfigError as why:
            log.get().error("tls.closed", why=str(why))
            self.server.shutdown_request(self.request)
            return
        trust.deadline_s, trust.sslsocket_class = SHAKE_S, Dialled
        try:
            self.request = trust.wrap_socket(self.request, server_side=True)
        except OSError:
            log.get().warning("tls.refused", address=self.client_address[0], why=trust.failure)
            return
        super().handle()
