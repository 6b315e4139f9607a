"""Params are refused in the gateway's words: the engine's rules are a second writing of the catalog's."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_worker.engine.arguments import param_problem
from shared.catalog.model import Param

PARAMS: list[dict[str, Any]] = [
    {"type": "integer"},
    {"type": "integer", "minimum": 2, "maximum": 10},
    {"type": "number", "minimum": 0.5, "maximum": 1e6},
    {"type": "string", "max_length": 3},
    {"type": "string", "choices": ["soft", "hard"]},
    {"type": "boolean"},
    {"type": "array", "max_length": 1},
    {"type": "object", "max_length": 1},
]
VALUES: list[Any] = [
    *(0, 1, 5, 10**7, 10**400, 0.1, 3.0, float("nan"), float("inf")),
    *(True, None, "", "abc", "soft", "long text", [], [1, 2], {}, {"a": 1, "b": 2}),
]


@pytest.mark.parametrize("declared", PARAMS, ids=str)
def test_both_writings_say_the_same(declared: dict[str, Any]) -> None:
    param = Param.model_validate(declared)

    assert [param_problem(declared, value) for value in VALUES] == [param.problem(value) for value in VALUES]
