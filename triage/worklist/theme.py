"""Dark or light. Dark unless a person chose otherwise: reading rooms are."""

from typing import Final

from fastapi import Request

COOKIE: Final = "triage-theme"
THEMES: Final = ("dark", "light")


def of(request: Request) -> str:
    """Give the theme that this browser asks for."""
    wanted = request.cookies.get(COOKIE, "")
    return wanted if wanted in THEMES else THEMES[0]
