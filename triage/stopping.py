"""Asked to stop: what SIGTERM or Ctrl-C tells a process that works until then."""

import os
import select
import signal
from contextlib import suppress
from typing import Final
from weakref import finalize

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """A question that is answered with no until somebody asks to stop.

    A pipe, not an Event: a handler runs in the thread that it interrupts, and where that is just
    about to wait for the Event it holds the lock that ``set`` wants, for ever.
    """

    def __init__(self) -> None:
        """Nobody has asked."""
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for one in (self._read, self._write):
            finalize(self, os.close, one).atexit = False

    def __call__(self) -> bool:
        """Tell whether somebody has asked."""
        return self.wait(0.0)

    def ask(self) -> None:
        """Ask to stop, once or again, from any thread and any signal's handler."""
        with suppress(BlockingIOError):  # asked 65,536 times before
            os.write(self._write, b"\0")

    def wait(self, seconds: float | None = None) -> bool:
        """Wait so long, or for ever, and no longer than until somebody asks; tells whether."""
        waiting = select.poll()
        waiting.register(self._read, select.POLLIN)
        return bool(waiting.poll(None if seconds is None else seconds * 1000))


def on_stop_signal() -> Stop:
    """Give a question that SIGTERM or Ctrl-C answers with yes."""
    stop = Stop()
    for one in SIGNALS:
        signal.signal(one, lambda *_: stop.ask())
    return stop
