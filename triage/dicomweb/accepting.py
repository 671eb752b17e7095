"""Accept headers of retrievals, and the parts of their answers (PS3.18 8.3.3, 8.7)."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from triage.dicomweb.multipart import MULTIPART, parameters

ANY: Final = "*/*"
Part = tuple[str, Iterable[bytes]]
"""Its media type, and its bytes."""


@dataclass(frozen=True, slots=True)
class Range:
    """One thing that a client takes."""

    media_type: str
    """Inside a multipart/related, that of its parts."""
    transfer_syntax: str
    """Empty where none is named; "*" for any."""
    is_multipart: bool

    def takes(self, media_type: str) -> bool:
        """Tell whether it covers a media type."""
        kind = media_type.partition("/")[0]
        return self.media_type in {media_type, f"{kind}/*", ANY}


def ranges(accept: str) -> list[Range]:
    """Read an Accept header; an empty one takes anything."""
    return [_range(one) for one in _split(accept) if one.strip()] or [
        Range(ANY, "", is_multipart=True)
    ]


def parts(found: Iterable[Part]) -> tuple[str, Iterator[bytes]]:
    """Give a multipart/related answer: its boundary, and its bytes as they come."""
    boundary = secrets.token_hex(16)

    def body() -> Iterator[bytes]:
        for media_type, content in found:
            yield f"--{boundary}\r\nContent-Type: {media_type}\r\n\r\n".encode()
            yield from content
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    return boundary, body()


def content_type(boundary: str, media_type: str) -> str:
    """Give the media type of a multipart/related answer."""
    return f'{MULTIPART}; type="{media_type}"; boundary={boundary}'


def chosen(
    accept: str, media_type: str, suits: Callable[[Range], bool] = lambda _one: True
) -> Range | None:
    """Give the first range that takes a media type; None when none does."""
    return next((one for one in ranges(accept) if one.takes(media_type) and suits(one)), None)


def _range(text: str) -> Range:
    media_type, given = parameters(text.strip())
    is_multipart = media_type in {MULTIPART, "multipart/*", ANY}
    inner = given.get("type", ANY).lower() if is_multipart else media_type
    return Range(inner, given.get("transfer-syntax", ""), is_multipart)


def _split(accept: str) -> list[str]:
    """Split at commas that are outside quotes."""
    found, quoted, start = [], False, 0
    for position, one in enumerate(accept):
        if one == '"':
            quoted = not quoted
        elif one == "," and not quoted:
            found.append(accept[start:position])
            start = position + 1
    return [*found, accept[start:]]
