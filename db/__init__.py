"""Rows: tables, the life of a study, the audit trail. Importing it makes every table known."""

from db import delivery, feedback, remarks, runs, tables, ups

__all__ = ["delivery", "feedback", "remarks", "runs", "tables", "ups"]
