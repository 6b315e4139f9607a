"""What an image is: a root file system and how its process is started. Pure: nothing is touched here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.docker.dockerfile import DockerfileError, Step, expand


@dataclass(frozen=True, slots=True)
class Config:
    """What a Dockerfile says beside its files.

    Attributes:
        env: Of every process, in the image and at its build.
        arguments: ARGs of the stage: at its build only.
        user: `uid:gid`.
        healthcheck: The command; empty: none.
        volumes: Folders that may be written though the root is read-only.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = "0:0"
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"

    @property
    def known(self) -> dict[str, str]:
        """The variables that a step of the stage sees."""
        return {**self.arguments, **self.env}

    @property
    def command(self) -> list[str]:
        """What is started as process 1."""
        return [*self.entrypoint, *self.cmd]

    def inherited(self) -> Config:
        """What the next stage begins with: ARGs end with theirs."""
        return replace(self, arguments={})


@dataclass(frozen=True, slots=True)
class Image:
    """A root file system and its configuration."""

    root: Path
    config: Config


def configured(config: Config, step: Step) -> Config:
    """The configuration after a step that changes nothing else.

    Raises:
        DockerfileError: The step is not one of those, or not as ours are written.
    """
    if step.word not in _CHANGES:
        raise DockerfileError(f"{step.word} changes more than the configuration")
    return _CHANGES[step.word](config, step)


def _arg(config: Config, step: Step) -> Config:
    name, _, default = step.text.partition("=")
    return replace(config, arguments={**config.arguments, name: expand(default, config.known)})


def _env(config: Config, step: Step) -> Config:
    return replace(config, env={**config.env, **step.pairs(config.known)})


def _label(config: Config, step: Step) -> Config:
    return replace(config, labels={**config.labels, **step.pairs(config.known)})


def _user(config: Config, step: Step) -> Config:
    user, _, group = step.text.partition(":")
    if not (user.isdigit() and group.isdigit()):
        raise DockerfileError(
            f"USER {step.text}: numbers, as uid:gid, are known without the image's /etc/passwd"
        )
    return replace(config, user=step.text)


def _entrypoint(config: Config, step: Step) -> Config:
    return replace(
        config, entrypoint=tuple(step.command()), cmd=()
    )  # as Docker: the base's CMD was for its own


def _healthcheck(config: Config, step: Step) -> Config:
    word, _, text = step.text.partition(" ")
    if word != "CMD":
        raise DockerfileError(f"not understood: HEALTHCHECK {step.text}")
    return replace(config, healthcheck=tuple(Step("CMD", {}, text.strip()).command()))


_CHANGES: Mapping[str, Callable[[Config, Step], Config]] = {
    "ARG": _arg,
    "CMD": lambda config, step: replace(config, cmd=tuple(step.command())),
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": lambda config, step: replace(config, ports=(*config.ports, *step.words())),
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "STOPSIGNAL": lambda config, step: replace(config, stop_signal=step.text),
    "USER": _user,
    "VOLUME": lambda config, step: replace(config, volumes=(*config.volumes, *step.words())),
}
