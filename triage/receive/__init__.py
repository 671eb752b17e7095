"""The C-STORE / C-ECHO SCP: validate, spool, answer."""
