"""Rows: tables, the life of a study, the audit trail. Importing it makes every table known."""

from db import feedback, remarks, tables, ups

__all__ = ["feedback", "remarks", "tables", "ups"]
