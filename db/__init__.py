"""Rows: tables, the life of a study, the audit trail. Importing it makes every table known."""

from db import (
    accounts,
    associations,
    carried,
    custody,
    delivery,
    evidence,
    feedback,
    once,
    priors,
    promises,
    reader_claims,
    remarks,
    runs,
    saved_lists,
    tables,
    ups,
)

__all__ = [
    "accounts",
    "associations",
    "carried",
    "custody",
    "delivery",
    "evidence",
    "feedback",
    "once",
    "priors",
    "promises",
    "reader_claims",
    "remarks",
    "runs",
    "saved_lists",
    "tables",
    "ups",
]
