"""A listener on the spool of the site ``a``."""

from tests.workers.test_evidence import listener

__all__ = ["listener"]
