"""Rows: tables, the life of a study, the audit trail."""
