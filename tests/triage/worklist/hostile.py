"""A sender's text at its worst, made so that the pages really show it.

Of a person name stands on a page what comes before its first ``=`` and ``^`` (PS3.5 6.2), cut to a
few hundred characters: all that could do harm comes before them, and once more behind.
"""

from typing import Final

TURNING: Final = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""What turns the writing of the text around it (UAX 9, 2)."""
SHOWN: Final = (
    "<script>document.querySelector('title').append('harmed')</script>"
    "<b data-evil>{{7*7}}\"'></b>" + TURNING + "gnorw\u0627%00\u2028</title></textarea><svg/onload>"
)
"""What a page shows of it: HTML, a script, right-to-left letters and marks; no ``=``, no ``^``."""
HANDLERS: Final = (
    "<img src=/static/evil.png onerror=\"document.title='harmed'\" data-evil>"
    "<svg onload=\"document.title='harmed'\" data-evil></svg>"
)
HOSTILE: Final = f"{SHOWN}{'A' * 256}{HANDLERS}^{HANDLERS}"
LONG: Final = f"{SHOWN}{'A' * 65_536}{HANDLERS}^{HANDLERS}"
"""The same with 64 kB before the first sign that parts a name."""
