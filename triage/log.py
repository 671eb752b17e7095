"""Structured logs: one JSON object (or one coloured line) an event, internal ids only.

Libraries quote values of data sets in what they log and warn. Whatever level their own loggers
have, and whenever they are imported, nothing of theirs below an error is written, and of an error
its place in their source alone.
"""

import logging
import os
import sys
from contextlib import suppress
from typing import Any, Final

import structlog

LEVEL: Final = "TRIAGE_LOG_LEVEL"


def configure(service: str, *, as_json: bool, level: str = "") -> None:
    """Send every log line of this process to standard error, stamped with the service's name.

    Args:
        service: stands in every line.
        as_json: one object a line; else for a person's eyes.
        level: of our own lines; by default what TRIAGE_LOG_LEVEL says, else INFO.
    """
    wanted = (level or os.environ.get(LEVEL, "")).upper()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, renderer]
        if as_json
        else [*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping().get(wanted, logging.INFO)
        ),
        logger_factory=structlog.WriteLoggerFactory(
            sys.stderr
        ),  # whole lines: processes share files
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
    hush()


def hush() -> None:
    """Keep what libraries say out of this process's output, but for the place of an error.

    For a command that has no log of its own; ``configure`` does it too.
    """
    # Not by a level: records that propagate ignore the root's, and pydicom, when it is imported,
    # sets its own. This stands above the level of every logger, of those to come as well.
    logging.disable(logging.WARNING)
    logging.captureWarnings(capture=True)  # which logs them, as warnings
    logging.basicConfig(handlers=[_Place(logging.ERROR)], force=True)


class _Place(logging.Handler):
    """Says which library had an error and where; its message and its traceback stay unread."""

    def emit(self, record: logging.LogRecord) -> None:
        at = f"{record.filename}:{record.lineno}"
        with suppress(OSError, ValueError):  # the stream is closed
            if structlog.is_configured():
                is_worse = record.levelno >= logging.CRITICAL
                say = get().critical if is_worse else get().error
                say("library.error", logger=record.name, at=at)
            else:
                sys.stderr.write(f"{record.levelname} {record.name} {at}\n")


def get() -> Any:  # noqa: ANN401 - structlog's own type is a proxy without a public name
    """Give the logger: ``log.get().info("study.delivered", study=id, ms=12)``."""
    return structlog.get_logger()
