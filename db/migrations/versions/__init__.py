"""The changes themselves: ``NNNN_what_changes.py``, revision id ``NNNN``."""
