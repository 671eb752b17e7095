"""Where a study can rest, and the arrows between. Being worked on is a lease, never a state."""

from enum import StrEnum
from typing import Final


class StudyState(StrEnum):
    """A state exists only where we could crash and must resume."""

    RECEIVING = "receiving"
    """Instances arrive; due when complete by evidence."""
    READY = "ready"
    """A generation is closed; due for analysis."""
    ANALYSED = "analysed"
    """Decided, documents in the outbox; due for delivery."""
    DELIVERED = "delivered"
    REJECTED = "rejected"
    """Not analysed, with a coded reason."""
    HELD = "held"
    """Identity or content in doubt; a person must decide."""
    FAILED = "failed"
    """A person must look."""


S = StudyState
_AT_WORK: Final = (S.RECEIVING, S.READY, S.ANALYSED)
FINAL: Final = frozenset({S.DELIVERED, S.REJECTED, S.HELD, S.FAILED})

ARROWS: Final[frozenset[tuple[StudyState, StudyState]]] = frozenset(
    {
        (S.RECEIVING, S.READY),
        (S.READY, S.ANALYSED),
        (S.ANALYSED, S.DELIVERED),
        # not analysed, with a report of that to deliver
        (S.RECEIVING, S.ANALYSED),
        # the three fates of every step
        *((old, new) for old in _AT_WORK for new in (S.REJECTED, S.HELD, S.FAILED)),
        # late instances reopen a study; one under delivery is reopened once it is delivered
        *((old, S.RECEIVING) for old in (S.READY, S.DELIVERED, S.REJECTED, S.FAILED)),
        # any instance may bring a conflict of identity or content
        *((old, S.HELD) for old in (S.DELIVERED, S.REJECTED, S.FAILED)),
        # a person resolved it, or asks for another try where it failed
        (S.HELD, S.RECEIVING),
        *((S.FAILED, new) for new in (S.READY, S.ANALYSED)),
    }
)
