"""The audit trail in the words of others: DICOM audit messages, FHIR AuditEvent, syslog."""
