"""What of a folder goes into a build: the `.dockerignore` beside a Dockerfile, as Docker reads it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def files(root: Path, rules: str) -> list[Path]:
    """The files of `root` that go into a build, relative to it, sorted.

    The last rule that matches a file or a folder above it decides; `!` lets in again.

    Args:
        root: The build's context.
        rules: The text of the `.dockerignore`.
    """
    patterns = [_pattern(line) for line in _lines(rules)]
    wanted = [file.relative_to(root) for top in _tops(root, rules) for file in _below(top)]
    return sorted(file for file in wanted if not _left_out(file, patterns))


def _lines(rules: str) -> Iterator[str]:
    yield from (line.strip() for line in rules.splitlines() if line.strip() and not line.startswith("#"))


def _tops(root: Path, rules: str) -> list[Path]:
    """Where to look: behind a rule `*` only what is let in by name, for a checkout can hold gigabytes."""
    if "*" not in _lines(rules):
        return [root]
    return [root / line[1:] for line in _lines(rules) if line.startswith("!")]


def _below(top: Path) -> Iterator[Path]:
    if top.is_file():
        yield top
    else:
        yield from (path for path in top.rglob("*") if path.is_file())


def _pattern(line: str) -> tuple[bool, re.Pattern[str]]:
    """Does the rule let in, and what matches it: the path itself or any folder above it."""
    lets_in, path = line.startswith("!"), line.removeprefix("!").strip("/")
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", path)
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return lets_in, re.compile("".join(wild.get(part, re.escape(part)) for part in parts) + "(?:/.*)?")


def _left_out(file: Path, patterns: Sequence[tuple[bool, re.Pattern[str]]]) -> bool:
    verdicts = [not lets_in for lets_in, pattern in patterns if pattern.fullmatch(file.as_posix())]
    return bool(verdicts) and verdicts[-1]
