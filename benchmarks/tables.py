"""Rows of text as a Markdown table, and numbers of several rounds as one cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import median

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head; columns are padded, so that it reads well in a terminal too."""
    return "\n".join(_lines(rows))


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"


def brackets(rounds: Sequence[float], digits: int = 0) -> str:
    """The median, with the lowest and the highest in brackets where there was more than one round."""
    told = f"{median(rounds):.{digits}f}"
    spread = f" ({min(rounds):.{digits}f}-{max(rounds):.{digits}f})"
    return told + (spread if len(rounds) > 1 else "")
