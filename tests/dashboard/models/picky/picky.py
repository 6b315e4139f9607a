"""An algorithm that prints and fails in the words that it is given."""

from __future__ import annotations


def run(words: str) -> str:
    print(words, flush=True)  # noqa: T201  what the job's log shows
    raise ValueError(words)
