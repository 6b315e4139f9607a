"""The tables under `[options]` of a model.toml: read key by key; what nobody reads is refused by its name.

Standard library only.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_worker.engine.spec import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

OF_THE_ENGINE = (
    "cancel_grace_s",
    "cpu",
    "cuda",
    "formats",
    "max_pixels",
    "shapes",
)
"""Options that the engine itself reads; a ready-made handler leaves them to it."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000


class Options:
    """One table. Read what there may be, then `close` it: whatever is left is a mistake.

    Every method raises SpecError with the file, the key and what it has to be.
    """

    def __init__(self, table: object, folder: Path, path: str = "options") -> None:
        self._where = f"{folder / 'model.toml'}: {path}"
        self._folder, self._path = folder, path
        if not isinstance(table, dict):
            raise SpecError(f"{self._where}: must be a table")
        self._table: dict[str, Any] = table
        self._known: set[str] = set()

    def leave(self, *names: str) -> None:
        """Accept these keys for somebody else."""
        self._known.update(names)

    def has(self, name: str) -> bool:
        """Whether a key is there."""
        self._known.add(name)
        return name in self._table

    def text(self, name: str, default: str = "", choices: Sequence[str] = ()) -> str:
        """A string, one of `choices` where there are any."""
        value = self._of(name, str, default, "a string")
        if choices and value not in choices:
            raise self.wrong(name, f"must be one of {', '.join(choices)}{suggest(value, choices)}")
        return str(value)

    def texts(self, name: str, default: Sequence[str]) -> tuple[str, ...]:
        """A list of strings."""
        values = self._list(name, default)
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(name, "must be a list of strings")
        return tuple(values)

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        return bool(self._of(name, bool, default, "true or false"))

    def integer(self, name: str, default: int, *, minimum: int = 0, maximum: int | None = None) -> int:
        """A whole number within its bounds."""
        value = self._of(name, int, default, "a whole number")
        if isinstance(value, bool):
            raise self.wrong(name, "must be a whole number")
        self._check_bounds(name, value, minimum, maximum)
        return int(value)

    def number(
        self, name: str, default: float, *, minimum: float = -math.inf, maximum: float = math.inf
    ) -> float:
        """A number within its bounds."""
        value = self._of(name, (int, float), default, "a number")
        if isinstance(value, bool) or not math.isfinite(value):
            raise self.wrong(name, "must be a number")
        self._check_bounds(name, value, minimum, maximum)
        return float(value)

    def numbers(self, name: str, default: Sequence[float], *, counts: Sequence[int]) -> tuple[float, ...]:
        """A list of numbers, as many as one of `counts`."""
        values = self._list(name, default)
        plain = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if not plain or len(values) not in counts:
            raise self.wrong(name, f"must be a list of {' or '.join(map(str, counts))} numbers")
        return tuple(map(float, values))

    def table(self, name: str) -> Options:
        """A table inside this one; empty where there is none."""
        self._known.add(name)
        return Options(self._table.get(name, {}), self._folder, f"{self._path}.{name}")

    def items(self) -> Mapping[str, Any]:
        """Everything, for a table whose keys are the author's own."""
        self._known.update(self._table)
        return self._table

    def close(self) -> None:
        """Refuse what is left."""
        for name in sorted(self._table.keys() - self._known):
            known = f"known here: {', '.join(sorted(self._known))}"
            raise self.wrong(name, f"no such option{suggest(name, self._known) or '; ' + known}")

    def wrong(self, name: str, complaint: str) -> SpecError:
        """The error for one key."""
        return SpecError(f"{self._where}.{name}: {complaint}")

    def _of(self, name: str, kind: type | tuple[type, ...], default: Any, said: str) -> Any:
        self._known.add(name)
        value = self._table.get(name, default)
        if not isinstance(value, kind):
            raise self.wrong(name, f"must be {said}")
        return value

    def _list(self, name: str, default: Sequence[Any]) -> list[Any]:
        value = self._of(name, (list, tuple), default, "a list")
        return list(value)

    def _check_bounds(self, name: str, value: float, minimum: float, maximum: float | None) -> None:
        if value < minimum:
            raise self.wrong(name, f"must be at least {minimum}")
        if maximum is not None and value > maximum:
            raise self.wrong(name, f"must be at most {maximum}")


def suggest(name: str, known: Sequence[str] | set[str]) -> str:
    """`; did you mean …?` where one of the known names is near."""
    by_folded = {each.casefold(): each for each in sorted(known)}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    near += [each for each in by_folded if name.casefold() in each.split("_")]
    return f"; did you mean {by_folded[near[0]]!r}?" if near else ""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What an input image may be: of these formats, of so many pixels at most."""

    formats: tuple[str, ...] = FORMATS
    max_pixels: int = MAX_PIXELS


def picture_limits(table: Mapping[str, Any], folder: Path) -> PictureLimits:
    """`formats` and `max_pixels` of a model's options.

    Raises:
        SpecError: One is of the wrong form, or a format that is never read.
    """
    options = Options(dict(table), folder)
    formats = tuple(name.upper() for name in options.texts("formats", FORMATS))
    if not formats:
        raise options.wrong("formats", f"names no format; known: {', '.join(FORMATS)}")
    for name in formats:
        if name not in FORMATS:
            known = suggest(name, FORMATS) or f"; known: {', '.join(FORMATS)}"
            raise options.wrong("formats", f"{name} is never read{known}")
    return PictureLimits(formats, options.integer("max_pixels", MAX_PIXELS, minimum=1))
