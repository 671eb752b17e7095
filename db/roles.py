"""Who may do what in PostgreSQL: the program cannot change its record, an auditor only reads it."""

from typing import Final

from sqlalchemy import Connection, inspect, text

from db.schema import months

APPEND_ONLY: Final = ("audit", "audit_once", "audit_seal", "feedback", "transition")


def grants(connection: Connection, program: str, auditor: str) -> list[str]:
    """Give the statements for two roles that exist; the owner of the tables runs them.

    The program's role reads and writes rows, and neither changes nor deletes the record. The
    auditor's reads the audit trail and its views, and nothing else. Neither reaches a month of the
    trail but through the trail.
    """
    quote = connection.dialect.identifier_preparer.quote
    found = inspect(connection)
    parts, views = months(connection), found.get_view_names()
    tables = set(found.get_table_names()) - parts
    one, other = quote(program), quote(auditor)
    told = [f"GRANT USAGE ON SCHEMA public TO {one}, {other}"]
    for name in sorted(tables):
        rights = "SELECT, INSERT" if name in APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
        told.append(f"REVOKE ALL ON {quote(name)} FROM {one}, {other}")
        told.append(f"GRANT {rights} ON {quote(name)} TO {one}")
    told += [f"REVOKE ALL ON {quote(name)} FROM {one}, {other}" for name in sorted(parts)]
    told.append(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {one}")
    told.append(f"GRANT EXECUTE ON FUNCTION make_audit_month(date) TO {one}")
    readable = ["audit", "audit_seal", *(name for name in views if name.startswith("audit_"))]
    told += [f"GRANT SELECT ON {quote(name)} TO {other}" for name in sorted(readable)]
    return told


def apply(connection: Connection, program: str, auditor: str) -> int:
    """Run the statements; gives how many."""
    told = grants(connection, program, auditor)
    for one in told:
        connection.execute(text(one))
    return len(told)
