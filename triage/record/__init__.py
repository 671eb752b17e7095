"""Record: what the steps found, written down with its audit row and the study's move."""

from triage.record.capabilities import load_accepted
from triage.record.loads import load_arrivals, load_former_reports, load_generation
from triage.record.outbox import requeue_refused, watch_delivery
from triage.record.saves import (
    close_generation,
    save_assessment,
    save_failed,
    save_generation,
    save_not_analysed,
    save_stop,
)

__all__ = [
    "close_generation",
    "load_accepted",
    "load_arrivals",
    "load_former_reports",
    "load_generation",
    "requeue_refused",
    "save_assessment",
    "save_failed",
    "save_generation",
    "save_not_analysed",
    "save_stop",
    "watch_delivery",
]
