"""Views of the audit trail for people who ask in SQL; docs/audit.md says what each column holds."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

VIEWS = {
    "audit_who_saw_what": """
        SELECT a.id, a.at, a.actor, a.actor_role, a.network_address, a.event_type AS what,
               a.outcome, a.object_id AS study_instance_uid, s.patient_id
        FROM audit AS a LEFT JOIN study AS s ON s.study_instance_uid = a.object_id
        WHERE a.event_id = '110103' AND a.object_type = 'study'
    """,
    "audit_study_history": """
        SELECT a.object_id AS study_instance_uid, a.id, a.at, a.event_id, a.event_type AS what,
               a.action, a.outcome, a.actor, a.actor_role, a.ae_title, a.network_address, a.detail
        FROM audit AS a WHERE a.object_type = 'study'
    """,
    "audit_refused_associations": """
        SELECT a.id, a.at, a.ae_title, a.network_address, a.event_type AS what, a.detail
        FROM audit AS a
        WHERE a.event_id = '110113'
          AND (a.event_type LIKE 'association.%' OR a.event_type LIKE 'connection.%')
    """,
    "audit_logins": """
        SELECT a.id, a.at, a.event_type AS what, a.outcome, a.actor, a.actor_role,
               a.network_address
        FROM audit AS a
        WHERE a.event_id = '110114' OR a.event_type = 'user.locked'
    """,
    "audit_changes": """
        SELECT a.id, a.at, a.event_type AS what, a.action, a.outcome, a.actor, a.actor_role,
               a.object_type, a.object_id, a.detail
        FROM audit AS a
        WHERE a.event_id = '110113' AND a.object_type NOT IN ('study', 'association', '')
    """,
    "audit_deliveries": """
        SELECT a.id, a.at, a.object_id AS study_instance_uid, a.event_type AS what, a.outcome,
               a.ae_title, a.network_address, a.detail
        FROM audit AS a
        WHERE (a.event_id = '110104' AND a.event_type NOT LIKE 'instance.%')
           OR a.event_type LIKE 'report.%' OR a.event_type LIKE 'rejection-note.%'
    """,
}


def upgrade() -> None:
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")
