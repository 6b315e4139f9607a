"""What became of jobs: lists, attempts, failures. A part of the asyncio client. Standard library only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Lookback:
    """Calls that look at many jobs at once, or back at one."""

    async def get(self, path: str, **params: Any) -> Any:
        """Any GET of the API, decoded."""
        raise NotImplementedError

    async def jobs(
        self,
        *,
        state: Sequence[str] = (),
        model: str | None = None,
        queue: str | None = None,
        worker: str | None = None,
        error: str | None = None,
        fingerprint: str | None = None,
        priority: int | None = None,
        retried: str | None = None,
        age: str | None = None,
        ended: str | None = None,
        created_after: str | None = None,
        everybody: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Mapping[str, Any]:
        """A page of `jobs`, newest first, without what they carry, and its `next_cursor`.

        A page may come short and still have a `next_cursor`, where a filter is rare: `searched_to` says so.

        Args:
            state: One of these.
            model: The model's name.
            queue: The queue's.
            worker: Who ran it last.
            error: The code that it failed with.
            fingerprint: Of a group of failures.
            priority: 0 to 10.
            retried: `yes` for what has a retry, `no` for what has none.
            age: `>5m` for submitted longer ago, `<2h` for more recently.
            ended: `<1h` for ended more recently, `>1d` for longer ago.
            created_after: Submitted since (RFC 3339).
            everybody: Of every tenant, with a key of an operator.
            cursor: `next_cursor` of the page before.
            limit: Jobs on a page, at most 200.
        """
        asked = {
            "state": list(state) or None,
            "model": model,
            "queue": queue,
            "worker": worker,
            "error": error,
            "fingerprint": fingerprint,
            "priority": priority,
            "retried": retried,
            "age": age,
            "ended": ended,
            "created_after": created_after,
            "scope": "all" if everybody else None,
            "cursor": cursor,
            "limit": limit,
        }
        page: Mapping[str, Any] = await self.get("/v1/jobs", **_said(asked))
        return page

    async def attempts(self, job_id: str) -> Mapping[str, Any]:
        """A job's row as `job`, and its `attempts`: where each ran, for how long, how it ended."""
        found: Mapping[str, Any] = await self.get(f"/v1/jobs/{quote(job_id, safe='')}/attempts")
        return found

    async def logs(self, job_id: str, *, attempt: int | None = None) -> Any:
        """What the algorithm printed, per attempt."""
        return await self.get(f"/v1/jobs/{quote(job_id, safe='')}/logs", **_said({"attempt": attempt}))

    async def failures(
        self,
        *,
        since_s: float | None = None,
        model: str | None = None,
        queue: str | None = None,
        everybody: bool = False,
    ) -> Mapping[str, Any]:
        """What failed lately, in `groups` of what is alike.

        Args:
            since_s: So far back, seconds; a day by default.
            model: Of this model.
            queue: Of this queue.
            everybody: Of every tenant, with a key of an operator.
        """
        scope = "all" if everybody else None
        asked = {"since_s": since_s, "model": model, "queue": queue, "scope": scope}
        found: Mapping[str, Any] = await self.get("/v1/failures", **_said(asked))
        return found

    async def failure(
        self, fingerprint: str, *, since_s: float | None = None, everybody: bool = False
    ) -> Mapping[str, Any]:
        """One group, with a traceback, its latest jobs and the filter that finds them.

        Raises:
            ApiError: 404 where nothing failed so within the time.
        """
        asked = {"since_s": since_s, "scope": "all" if everybody else None}
        path = f"/v1/failures/{quote(fingerprint, safe='')}"
        found: Mapping[str, Any] = await self.get(path, **_said(asked))
        return found


def _said(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}
