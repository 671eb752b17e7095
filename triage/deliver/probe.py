"""What a destination can do: asked by negotiation, so nothing is stored to find out.

A PACS that accepts a SOP class in an association may still refuse an object of it; one that does
not accept it surely does.
"""

import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from triage import commitment, dimse
from triage.deliver import stow
from triage.destinations import Capability, Destination, Dimse, Stow
from triage.dimse import STUDY_ROOT_FIND, VERIFICATION, Syntaxes
from triage.errors import Broken, TryAgain

STORES: Final = (
    Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage,
    KeyObjectSelectionDocumentStorage, GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage, MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    SegmentationStorage, ParametricMapStorage,
)  # fmt: skip
"""What we may want to store."""
SYNTAXES: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
CONNECT_S: Final = 5.0


def probe(to: Destination) -> tuple[Capability, ...]:
    """Ask a destination what it can do; never raises for what it cannot."""
    where = _address(to)
    reached = _reached(*where, to)
    if not reached.accepted:
        return (reached,)
    if isinstance(to, Dimse):
        return (reached, *_dimse(to))
    if isinstance(to, Stow):
        return (reached, _queries(to))
    return (reached,)


def _dimse(to: Dimse) -> Iterator[Capability]:
    yield _echoes(to)
    services: dict[str, tuple[Syntaxes, ...]] = {
        "find": ((STUDY_ROOT_FIND, ImplicitVRLittleEndian),),
        "commitment": ((commitment.SOP_CLASS, ImplicitVRLittleEndian),),
        "store": tuple((one, syntax) for one in STORES for syntax in SYNTAXES),
    }
    wanted = [pair for pairs in services.values() for pair in pairs]
    try:
        with dimse.associate(to, wanted) as association:
            taken = {
                (str(one.abstract_syntax), str(one.transfer_syntax[0]))
                for one in association.accepted_contexts
            }
    except TryAgain as why:
        yield Capability("associate", accepted=False, detail=str(why))
        return
    except Broken:
        taken = set()
    for service, pairs in services.items():
        for sop_class, syntax in pairs:
            accepted = (str(sop_class), str(syntax)) in taken
            yield Capability(service, str(sop_class), str(syntax), accepted=accepted)


def _echoes(to: Dimse) -> Capability:
    try:
        dimse.echo(to)
    except (TryAgain, Broken) as why:
        return Capability("echo", str(VERIFICATION), accepted=False, detail=str(why))
    return Capability("echo", str(VERIFICATION), accepted=True)


def _queries(to: Stow) -> Capability:
    try:
        stow.query(to)
    except (TryAgain, Broken) as why:
        return Capability("query", accepted=False, detail=str(why))
    return Capability("query", accepted=True)


def _reached(host: str, port: int, to: Destination) -> Capability:
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=min(CONNECT_S, to.deadline_s)):
            return Capability("tcp", accepted=True, detail=where)
    except OSError as why:
        return Capability("tcp", accepted=False, detail=f"{where}: {why.strerror or 'no answer'}")


def _address(to: Destination) -> tuple[str, int]:
    if hasattr(to, "url"):
        parts = urlsplit(to.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    return to.host, to.port
