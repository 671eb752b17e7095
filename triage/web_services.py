"""``dicomweb`` in site.yaml: what we offer to programs and viewers over HTTP."""

from pathlib import Path
from typing import Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from triage.frozen import Frozen, Port


class WebServer(Frozen):
    """A server of its own for programs: STOW-RS in, QIDO-RS and WADO-RS out.

    The limits of one instance and of the disk are the listener's: ``listener.max_instance_bytes``
    and ``listener.min_free_bytes``.
    """

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Port = 8081
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    """Both or neither; without them a server in front must bring TLS."""
    max_uploads: PositiveInt = 8
    """Store requests at a time; one more is told to come again."""
    max_request_bytes: PositiveInt = 17_179_869_184
    max_instances: PositiveInt = 20_000
    """Of one store request."""
    idle_timeout_s: PositiveFloat = 30.0
    """Without a byte of a request's body."""
    request_timeout_s: PositiveFloat = 3_600.0
    """For one whole store request."""
    retry_after_s: PositiveInt = 30
    """What a sender is told who comes at a bad time."""
    remember_tokens_s: PositiveFloat = 900.0
    """While the database is away, a token that was good this long ago still stores."""

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            msg = "tls_certificate_file and tls_key_file go together: give both or neither"
            raise ValueError(msg)
        return self


class DicomWeb(Frozen):
    """``dicomweb`` in site.yaml."""

    on_worklist: bool = True
    """QIDO-RS and WADO-RS below /dicomweb of the worklist, for who is signed in and for tokens."""
    server: WebServer = WebServer()
    max_results: PositiveInt = 500
    """Matches of one query; a client asks for the rest by offset."""
    max_looked_at: PositiveInt = 5_000
    """Headers read for one query on attributes that have no column, before it is refused."""
