"""The settings in force, as far as they may be shown. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr

from gateway import schemas
from gateway.live.viewer import MAX_ROWS
from shared.settings import PREFIX, ProcessSettings

WAIT_MAX_S = 60


def limits(max_body_bytes: int) -> dict[str, int]:
    """What a request may say at most."""
    return {
        "max_body_bytes": max_body_bytes,
        "max_json_bytes": schemas.MAX_JSON_BYTES,
        "max_metadata_bytes": schemas.MAX_METADATA_BYTES,
        "max_data_bytes": schemas.MAX_DATA_BYTES,
        "max_timeout_s": schemas.MAX_TIMEOUT_S,
        "max_delay_s": schemas.MAX_DELAY_S,
        "max_attempts": schemas.MAX_ATTEMPTS,
        "wait_max_s": WAIT_MAX_S,
        "live_rows": MAX_ROWS,
    }


def retention(settings: ProcessSettings) -> dict[str, int | None]:
    """For how long what is kept; None: for ever."""
    return {"hot_results_s": settings.redis.result_ttl_s, "jobs_s": None, "objects_s": None}


def in_force(settings: ProcessSettings) -> list[dict[str, Any]]:
    """Every variable of this process with its value; a secret's value is never shown."""
    sections = type(settings).model_fields
    return [row for section in sections for row in _section(section, getattr(settings, section))]


def _section(section: str, values: BaseModel) -> Iterator[dict[str, Any]]:
    plain = values.model_dump(mode="json")
    for name, field in type(values).model_fields.items():
        value = getattr(values, name)
        secret = isinstance(value, SecretStr) or "SecretStr" in str(field.annotation)
        yield {
            "name": f"{PREFIX}{section}_{name}".upper(),
            "value": None if secret else plain[name],
            "secret": secret,
            "default": value == field.get_default(call_default_factory=True),
        }
