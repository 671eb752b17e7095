"""Time: who runs which step when."""
