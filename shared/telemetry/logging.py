"""Structured logs on stderr: one JSON object a line, dotted event names with fields, never sentences."""

from __future__ import annotations

import logging
import sys

import structlog

from shared.settings import Log


def configure_logging(settings: Log, *, service: str) -> None:
    """Send structlog and the standard library's warnings through one renderer.

    Args:
        settings: Level and format.
        service: Bound to every line (``gateway``, ``worker``, ``scaler``).
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer = _renderer(settings)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    _route_standard_library(shared, renderer)


def _renderer(settings: Log) -> structlog.typing.Processor:
    if settings.format == "console":
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    return structlog.processors.JSONRenderer()


def _route_standard_library(
    shared: list[structlog.typing.Processor],
    renderer: structlog.typing.Processor,
) -> None:
    """Drivers log through `logging`: their warnings come out in the same shape as ours."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        ),
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
