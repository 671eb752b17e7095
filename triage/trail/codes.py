"""The codes of PS3.15 A.5 and PS3.16 (DCM) that our audit rows become."""

from typing import Final

from db.audit import Event

EVENTS: Final = {
    Event.APPLICATION_ACTIVITY: "Application Activity",
    Event.AUDIT_LOG_USED: "Audit Log Used",
    Event.INSTANCES_ACCESSED: "DICOM Instances Accessed",
    Event.INSTANCES_TRANSFERRED: "DICOM Instances Transferred",
    Event.STUDY_DELETED: "DICOM Study Deleted",
    Event.EXPORT: "Export",
    Event.IMPORT: "Import",
    Event.PATIENT_RECORD: "Patient Record",
    Event.PROCEDURE_RECORD: "Procedure Record",
    Event.QUERY: "Query",
    Event.SECURITY_ALERT: "Security Alert",
    Event.USER_AUTHENTICATION: "User Authentication",
}
"""EventID (CID 400)."""

TYPES: Final = (
    ("access.refused", "110132", "Use of Restricted Function"),
    ("application.start", "110120", "Application Start"),
    ("application.stop", "110121", "Application Stop"),
    ("login", "110122", "Login"),
    ("logout", "110123", "Logout"),
    ("association", "110126", "Node Authentication"),
    ("connection", "110126", "Node Authentication"),
    ("break-glass", "110127", "Emergency Override Started"),
    ("node", "110128", "Network Configuration"),
    ("password", "110129", "Security Configuration"),
    ("token", "110129", "Security Configuration"),
    ("audit.retired", "110129", "Security Configuration"),
    ("artifact", "110131", "Software Configuration"),
    ("configuration", "110131", "Software Configuration"),
    ("dicomweb.denied", "110132", "Use of Restricted Function"),
    ("role", "110136", "Security Roles Changed"),
    ("user", "110137", "User Security Attributes Changed"),
)
"""EventTypeCode (CID 401) by the first word of ours; the first that fits."""

APPLICATION: Final = ("110150", "Application")
DESTINATION: Final = ("110152", "Destination Role ID")
SOURCE: Final = ("110153", "Source Role ID")
STUDY_UID: Final = ("110180", "Study Instance UID")
NODE_ID: Final = ("110182", "Node ID")
PATIENT_NUMBER: Final = ("2", "Patient Number")
USER_IDENTIFIER: Final = ("11", "User Identifier")
URI: Final = ("12", "URI")
"""ParticipantObjectIDTypeCode; numbers below 100 are RFC 3881's."""


def event_type(kind: str) -> tuple[str, str] | None:
    """Give the EventTypeCode of one of our own words; None where DICOM has none."""
    for word, code, meaning in TYPES:
        if kind == word or kind.startswith((f"{word}.", f"{word}-")):
            return code, meaning
    return None
