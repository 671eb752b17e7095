"""multipart/related as it comes from the wire, piece by piece (RFC 2046 5.1, PS3.18 8.6.1.2).

Nothing is held but the end of the last piece; a part's bytes go on as they come.
"""

from collections.abc import Mapping
from email.message import Message
from enum import Enum, auto
from typing import Final, Protocol

from triage.errors import TriageError

MULTIPART: Final = "multipart/related"
MAX_BOUNDARY: Final = 200
"""RFC 2046 5.1.1 allows 70; Orthanc sends 73."""
MAX_HEADER_BYTES: Final = 8_192
"""Of one part; also of what may stand before the first."""
END_OF_HEADER: Final = b"\r\n\r\n"


class Malformed(TriageError):
    """The body is no multipart/related, or is cut."""


class Sink(Protocol):
    """Who takes the parts."""

    def begin(self, headers: Mapping[str, str]) -> None:
        """A part begins; its headers' names are in lower case."""

    def write(self, fragment: memoryview) -> None:
        """Take some of its bytes."""

    def end(self) -> None:
        """It is whole."""


class _At(Enum):
    PREAMBLE = auto()
    MARK = auto()
    HEADER = auto()
    BODY = auto()
    EPILOGUE = auto()


class Multipart:
    """One body on its way in."""

    def __init__(self, boundary: str, sink: Sink) -> None:
        """Get ready.

        Raises:
            Malformed: this can be no boundary.
        """
        if not 1 <= len(boundary) <= MAX_BOUNDARY or not boundary.isascii():
            msg = "the boundary is missing or none"
            raise Malformed(msg)
        self._mark = b"\r\n--" + boundary.encode("ascii")
        self._rest = bytearray(b"\r\n")  # before the first boundary a line break may be missing
        self._sink = sink
        self._at = _At.PREAMBLE
        self._skipped = 0

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            Malformed: it cannot go on like this.
        """
        self._rest += piece
        steps = {
            _At.PREAMBLE: self._preamble, _At.MARK: self._after_mark, _At.HEADER: self._header,
            _At.BODY: self._body,
        }  # fmt: skip
        while self._at is not _At.EPILOGUE and steps[self._at]():
            pass
        if self._at is _At.EPILOGUE:
            self._rest.clear()

    def close(self) -> None:
        """Tell that no more comes.

        Raises:
            Malformed: the last boundary was not there.
        """
        if self._at is not _At.EPILOGUE:
            msg = "the body ends before its last boundary"
            raise Malformed(msg)

    def _preamble(self) -> bool:
        found = self._rest.find(self._mark)
        kept = found + len(self._mark) if found >= 0 else max(len(self._rest) - len(self._mark), 0)
        self._skipped += kept
        del self._rest[:kept]
        if self._skipped > MAX_HEADER_BYTES:
            msg = "the body does not begin with its boundary"
            raise Malformed(msg)
        return self._go(_At.MARK) if found >= 0 else False

    def _after_mark(self) -> bool:
        """Read what follows a boundary: "--" after the last, else padding and a line break."""
        if self._rest.startswith(b"--"):
            return self._go(_At.EPILOGUE)
        line = self._rest.find(b"\r\n")
        head = self._rest[: line if line >= 0 else len(self._rest)]
        if head.rstrip(b"\r").strip(b" \t-") or len(head) > MAX_BOUNDARY:
            msg = "a boundary is followed by something else"
            raise Malformed(msg)
        if line < 0:
            return False
        del self._rest[:line]  # the line break stays: a part without headers begins with it
        return self._go(_At.HEADER)

    def _header(self) -> bool:
        end = self._rest.find(END_OF_HEADER)
        if max(end, 0 if end >= 0 else len(self._rest)) > MAX_HEADER_BYTES:
            msg = "the headers of a part are too long"
            raise Malformed(msg)
        if end < 0:
            return False
        text = bytes(self._rest[:end])
        del self._rest[: end + len(END_OF_HEADER)]
        self._sink.begin(_headers(text))
        return self._go(_At.BODY)

    def _body(self) -> bool:
        found = self._rest.find(self._mark)
        count = found if found >= 0 else len(self._rest) - len(self._mark)
        if count > 0:
            with memoryview(self._rest) as view, view[:count] as part:
                self._sink.write(part)
            del self._rest[:count]
        if found < 0:
            return False
        del self._rest[: len(self._mark)]
        self._sink.end()
        return self._go(_At.MARK)

    def _go(self, to: _At) -> bool:
        self._at = to
        return True


def parameters(content_type: str) -> tuple[str, dict[str, str]]:
    """Give a media type, in lower case, and its parameters (RFC 9110 8.3.1)."""
    message = Message()
    message["Content-Type"] = content_type
    pairs = message.get_params(failobj=[], header="Content-Type")
    if not pairs:
        return "", {}
    return pairs[0][0].lower(), {name.lower(): str(value) for name, value in pairs[1:]}


def _headers(text: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if line.strip() and not colon:
            msg = "the headers of a part are damaged"
            raise Malformed(msg)
        if colon:
            found[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    return found
