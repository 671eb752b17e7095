"""Rows: tables, the life of a study, the audit trail. Importing it makes every table known."""

from db import (
    custody,
    delivery,
    evidence,
    feedback,
    once,
    priors,
    promises,
    remarks,
    runs,
    tables,
    ups,
)

__all__ = [
    "custody",
    "delivery",
    "evidence",
    "feedback",
    "once",
    "priors",
    "promises",
    "remarks",
    "runs",
    "tables",
    "ups",
]
