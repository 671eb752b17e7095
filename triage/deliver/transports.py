"""Ways to send: one module for each ``kind`` of destination, loaded in the sending process.

Each module of the table offers ``store(document, to)`` and may offer ``holds(document, to)``.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, Protocol, cast

from triage.finding import Document

TRANSPORTS: Final[Mapping[str, str]] = {
    "dimse": "triage.deliver.dicom",
    "stow": "triage.deliver.stow",
    "mllp": "triage.deliver.mllp",
    "fhir": "triage.deliver.fhir",
    "webhook": "triage.deliver.webhook",
    "mail": "triage.deliver.mail",
}


class Transport(Protocol):
    """What every transport module offers."""

    def store(self, document: Document, to: Any) -> int:  # noqa: ANN401 - the class of its kind
        """Give the status under which the destination keeps the document.

        Raises:
            InDoubt: no answer came after the last byte: ``holds`` is asked before the next try.
            TryAgain: nobody there, or busy: the same bytes again.
            Broken: the destination will never take it (code "refused").
        """
        ...


def load(kind: str) -> Transport:
    """Give the transport of a kind of destination."""
    return cast("Transport", import_module(TRANSPORTS[kind]))


def holds(transport: Transport, document: Document, to: Any) -> bool:  # noqa: ANN401 - as above
    """Tell whether the destination keeps the document; False where it cannot be asked.

    Raises:
        TryAgain, Broken: as ``store``.
    """
    ask = getattr(transport, "holds", None)
    return bool(ask is not None and ask(document, to))
