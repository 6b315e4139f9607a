"""Structured concurrency for the stack: everything at once, the first failure as itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from deploy.local.failure import StackError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

T = TypeVar("T")


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Run all to their end in one task group; returns their results in order.

    Raises:
        StackError: The first that failed so; the others have been cancelled.
    """
    failed: list[BaseException] = []
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(each) for each in work]
    except* StackError as failures:
        failed += failures.exceptions
    if failed:
        raise failed[0]  # outside `except*`, which would wrap it in a group again
    return [task.result() for task in tasks]
