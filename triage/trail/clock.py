"""Where the computer's time comes from, as the kernel tells it: is it disciplined, how far off."""

import ctypes
import sys
from typing import Any, Final

UNSYNCHRONISED: Final = 0x0040
"""STA_UNSYNC of <sys/timex.h>."""
TIME_ERROR: Final = 5
"""What adjtimex gives for a clock that nothing disciplines."""
_LONGS: Final = ctypes.c_long * 64


class _Timex(ctypes.Structure):
    """The head of ``struct timex``, and room for its rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", _LONGS),
    )


def state() -> dict[str, Any]:
    """Give whether the clock is disciplined (NTP), and its largest error in microseconds.

    ``synchronised`` is None where the system does not tell.
    """
    if not sys.platform.startswith("linux"):
        return {"synchronised": None}
    asked = _Timex()  # modes 0: reads, sets nothing, needs no right
    answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(asked))
    if answer < 0:
        return {"synchronised": None}
    return {
        "synchronised": answer != TIME_ERROR and not asked.status & UNSYNCHRONISED,
        "max_error_us": int(asked.maxerror),
    }
