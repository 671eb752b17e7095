"""Structured logs: one JSON object (or one coloured line) an event, internal ids only."""

import logging
import os
import sys
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
    # Libraries keep to errors, also at DEBUG: their warnings quote values from data sets.
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, force=True)
    logging.captureWarnings(capture=True)


def get() -> Any:  # noqa: ANN401 - structlog's own type is a proxy without a public name
    """Give the logger: ``log.get().info("study.delivered", study=id, ms=12)``."""
    return structlog.get_logger()
