"""What a process loads when it starts stays: it is not searched for garbage while it is loaded.

The search costs a service a tenth to a fifth of its start, and finds nothing.
"""

import gc
from typing import Final

WHILE_LOADING: Final = 50_000
"""New objects before a search, instead of Python's own bound."""
AS_EVER: Final = (700, 10, 10)
"""Python's own bounds (3.11), by generation."""


def begin() -> None:
    """Search seldom from now on: the first thing a program does, before it imports the rest."""
    gc.set_threshold(WHILE_LOADING, *AS_EVER[1:])


def settle() -> None:
    """Search as ever, but for what is loaded by now; nothing where ``begin`` was not called."""
    if gc.get_threshold()[0] == WHILE_LOADING:
        gc.freeze()
        gc.set_threshold(*AS_EVER)
