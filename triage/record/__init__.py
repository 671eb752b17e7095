"""Record: what the steps found, written down with its audit row and the study's move."""

from triage.record.loads import (
    Queued,
    Sending,
    load_arrivals,
    load_former_reports,
    load_generation,
    load_outbox,
    refusal,
)
from triage.record.saves import (
    close_delivery,
    close_generation,
    requeue_refused,
    save_assessment,
    save_generation,
    save_not_analysed,
    save_sendings,
    save_stop,
)

__all__ = [
    "Queued",
    "Sending",
    "close_delivery",
    "close_generation",
    "load_arrivals",
    "load_former_reports",
    "load_generation",
    "load_outbox",
    "refusal",
    "requeue_refused",
    "save_assessment",
    "save_generation",
    "save_not_analysed",
    "save_sendings",
    "save_stop",
]
