"""Structured logs on stderr: one JSON object a line, dotted event names with fields, never sentences."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import msgspec
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
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    lines = settings.format == "json"
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_to_json) if lines else console],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=_bytes_logger if lines else structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    _route_standard_library(shared, structlog.processors.JSONRenderer() if lines else console)


def _bytes_logger(*_: object) -> structlog.BytesLogger:
    """Two lines for each job are most of what a fast worker writes: they skip the text layer."""
    return structlog.BytesLogger(sys.stderr.buffer)


def _to_json(event: Any, **_: object) -> bytes:
    try:
        return msgspec.json.encode(event, enc_hook=repr)
    except (ValueError, TypeError):  # what an algorithm said: a lone surrogate has no UTF-8
        return json.dumps(event, default=repr).encode()


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
