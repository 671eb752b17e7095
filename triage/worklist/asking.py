"""The question before an act: a form sent without ``sure`` is answered with it.

It works without a script: the question's form sends the same again with ``sure``. The session's
token guards both.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from fastapi import Form, Request
from fastapi.responses import Response

from triage.worklist import context

YES: Final = "yes"
Sure = Annotated[str, Form(max_length=8)]


def ask(
    request: Request,
    title: str,
    said: str,
    fields: Mapping[str, Sequence[str]],
    *,
    back: str,
    place: str = "admin",
) -> Response:
    """Show the question, what the act will do, and the way back."""
    values = {
        "place": place, "title": title, "said": said, "fields": fields,
        "action": request.url.path, "back": back,
    }  # fmt: skip
    return context.page(request, "confirm.html", values)
