"""Unified Procedure Steps (PS3.4 CC, PS3.18 11): a small manager, and a performer of our studies.

The manager (``manager``) is one set of rules over one table, behind two doors: UPS-RS on the
worklist's server (``web``, ``channel``) and DIMSE on a port of its own (``scp``, ``events``). The
performer (``performer``) claims items of any manager for studies that we hold.
"""
