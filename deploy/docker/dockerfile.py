"""Reads a Dockerfile as stages and their steps: what the assembler carries out. No file system, no process.

Only what our Dockerfiles use: an instruction or a flag that is not known here is an error and never skipped,
so nothing is tried that a container engine would build otherwise.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STEPS = frozenset(
    {
        *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL"),
        *("USER", "VOLUME", "WORKDIR"),
    }
)
FLAGS = {
    "COPY": frozenset({"from", "chmod"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "start-interval", "retries"}),
    "RUN": frozenset({"mount"}),
}
_FLAG = re.compile(r"--([a-z-]+)=(\S+)\s+")
_HEREDOC = re.compile(r"<<-?[\"']?\w")
_FROM = re.compile(r"(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


class DockerfileError(Exception):
    """Something that our Dockerfiles do not use, or that Docker would refuse."""


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction.

    Attributes:
        word: RUN, COPY …
        flags: What precedes its text, `--from=code` as `{"from": "code"}`.
        text: The rest, in one line.
    """

    word: str
    flags: Mapping[str, str]
    text: str

    def words(self) -> list[str]:
        """The text as a list: of JSON, or split as a shell does.

        Raises:
            DockerfileError: It begins as JSON and is none.
        """
        if not self.text.startswith("["):
            return shlex.split(self.text)
        try:
            return [str(word) for word in json.loads(self.text)]
        except ValueError:
            raise DockerfileError(f"{self.word}: no JSON list: {self.text}") from None

    def command(self) -> list[str]:
        """What a CMD, an ENTRYPOINT or a HEALTHCHECK runs: a list as it is, a line by the shell."""
        return self.words() if self.text.startswith("[") else ["/bin/sh", "-c", self.text]

    def pairs(self, known: Mapping[str, str]) -> dict[str, str]:
        """`A=1 B="x y"` with the variables that are known."""
        return dict(expand(word, known).split("=", 1) for word in shlex.split(self.text))


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next.

    Attributes:
        name: Its AS, or its number.
        base: Another stage's name, or an image's.
        steps: In order.
    """

    name: str
    base: str
    steps: tuple[Step, ...]

    def needs(self) -> list[str]:
        """The names it builds upon: its base, and whatever it copies from."""
        return [self.base, *(step.flags["from"] for step in self.steps if "from" in step.flags)]


def parse(text: str, arguments: Mapping[str, str] | None = None) -> dict[str, Stage]:
    """The stages of a Dockerfile by name, in order.

    Args:
        text: Its text.
        arguments: `--build-arg`s for what stands before the first FROM.

    Raises:
        DockerfileError: It uses something that is not known here.
    """
    known: dict[str, str] = {}
    found: dict[str, tuple[str, list[Step]]] = {}
    for step in _steps(text):
        if step.word == "FROM":
            base, name = _from(step, known)
            found[name or str(len(found))] = (base, [])
        elif found:
            found[list(found)[-1]][1].append(step)
        else:
            known |= _argument(step, arguments or {})
    return {name: Stage(name, base, tuple(steps)) for name, (base, steps) in found.items()}


def expand(text: str, known: Mapping[str, str]) -> str:
    """The text with `$A` and `${A}` replaced.

    Raises:
        DockerfileError: One of them has no value here.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in known:
            raise DockerfileError(f"{name} has no value in: {text}")
        return known[name]

    return _VARIABLE.sub(value, text)


def _from(step: Step, known: Mapping[str, str]) -> tuple[str, str | None]:
    match = _FROM.fullmatch(step.text)
    if match is None:
        raise DockerfileError(f"not understood: FROM {step.text}")
    return expand(match[1], known), match[2]


def _argument(step: Step, given: Mapping[str, str]) -> dict[str, str]:
    name, _, default = step.text.partition("=")
    if step.word != "ARG":
        raise DockerfileError(f"{step.word} before the first FROM")
    return {name: given.get(name, default)}


def _steps(text: str) -> Iterator[Step]:
    for line in _lines(text):
        word, _, rest = line.partition(" ")
        if (word not in STEPS and word != "FROM") or _HEREDOC.search(line):
            raise DockerfileError(f"not known here: {line}")
        flags, rest = _flags(rest.strip())
        if unknown := flags.keys() - FLAGS.get(word, frozenset()):
            raise DockerfileError(f"{word}: not known here: --{' --'.join(sorted(unknown))}")
        yield Step(word, flags, rest)


def _lines(text: str) -> Iterator[str]:
    """Instructions, each in one line: continued ones joined, comments and blank lines left out."""
    begun = ""
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        begun += line.removesuffix("\\").rstrip() + " " if line.endswith("\\") else line
        if not line.endswith("\\"):
            yield begun
            begun = ""


def _flags(text: str) -> tuple[dict[str, str], str]:
    flags = {}
    while match := _FLAG.match(text):
        flags[match[1]] = match[2]
        text = text[match.end() :]
    return flags, text
