"""The IHE Integration Statement: the actors that the configuration plays, and those it does not.

A claim stands here with the condition that makes it true; what is done in part is not claimed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from triage.commands.conformance_objects import Made
from triage.destinations import Dimse, Stow
from triage.outputs import rejection_note
from triage.settings import Settings


@dataclass(frozen=True, slots=True)
class Claim:
    """One actor of one profile."""

    profile: str
    actor: str
    transactions: tuple[str, ...]
    limits: str


NOT_CLAIMED: Final[Mapping[str, str]] = {
    "ATNA Secure Node, Secure Application": "audit rows go to audit.collectors (ITI-20), but TLS "
    "(ITI-19) is a setting of each port, event reports of work items come without it, and time is "
    "the host's",
    "CT Time Client": "the clock is the host's",
    "SWF Acquisition Modality, PIR": "no worklist is queried and no MPPS is sent",
    "Import Reconciliation, PDI, XDS-I": "none of their transactions exists here",
    "AIR Image Display": "results are shown on our own pages only",
    "AIRA": "readers' words on a result are kept, and not yet exchanged as that profile has it",
}
_DRAWN: Final[Mapping[str, str]] = {
    "key_objects": "RAD-29 Key Image Note Stored",
    "presentation_state": "RAD-9 Creator Presentation State Stored",
    "secondary_capture": "RAD-18 Creator Images Stored (Secondary Capture)",
    "segmentation": "RAD-18 Creator Images Stored (Segmentation)",
    "parametric_map": "RAD-18 Creator Images Stored (Parametric Map)",
}


def claims(settings: Settings, made: Mapping[str, Made]) -> list[Claim]:
    """Give what holds of the running configuration."""
    found = [_evidence_creator(settings, made), _change_requester(settings, made)]
    ups = settings.site.ups
    if ups.performer.managers:
        found.append(
            Claim(
                "AI Workflow for Imaging (AIW-I)", "Task Performer",
                ("RAD-81 Query", "RAD-82 Claim", "RAD-83 Get", "RAD-84 Update", "RAD-85 Complete"),
                "only for studies that were sent to us: inputs are not retrieved",
            )
        )  # fmt: skip
    if ups.manager.enabled:
        found.append(
            Claim(
                "AI Workflow for Imaging (AIW-I)", "Task Manager",
                (
                    "RAD-80 Create", "RAD-81 Query", "RAD-82 Claim", "RAD-83 Get", "RAD-84 Update",
                    "RAD-85 Complete", "RAD-86 Subscribe", "RAD-87 Notify", "RAD-88 Request Cancel",
                ),
                f"{len(ups.manager.peers)} application entities are served",
            )
        )  # fmt: skip
    return [one for one in found if one is not None]


def _evidence_creator(settings: Settings, made: Mapping[str, Made]) -> Claim | None:
    ways = [one for one in settings.site.destinations if isinstance(one, Dimse | Stow)]
    kinds = {kind for one in ways for kind in one.outputs if kind in made}
    if "structured_report" not in kinds:
        return None
    commits = any(isinstance(one, Dimse) and one.commitment for one in ways)
    triage = settings.site.intended_use.mode == "triage"
    return Claim(
        "AI Results (AIR)",
        "Evidence Creator",
        (
            "RAD-43 Evidence Document Stored (TID 1500)",
            *(name for kind, name in _DRAWN.items() if kind in kinds),
            *(("RAD-10 Storage Commitment",) if commits else ()),
        ),
        "qualitative findings, measurements and tracking identifiers"
        + ("; no location, region or parametric map in this mode" if triage else ""),
    )


def _change_requester(settings: Settings, made: Mapping[str, Made]) -> Claim | None:
    ways = [one for one in settings.site.destinations if isinstance(one, Dimse | Stow)]
    if not ways or rejection_note.KIND not in made:
        return None
    return Claim(
        "Imaging Object Change Management (IOCM)",
        "Change Requester",
        ("RAD-66 Rejection Note Stored",),
        "for objects of our own only; by KOS, never by deleting",
    )
