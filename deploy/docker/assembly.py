"""Builds an image's root file system from its Dockerfile without a container engine: debootstrap, chroot, cp.

It carries out the real Dockerfile, in the real context, stage by stage: there is no second list of the steps.
Needs root, debootstrap, and the package registries.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from deploy.docker import box, context, registries
from deploy.docker.dockerfile import DockerfileError, Stage, Step, parse
from deploy.docker.image import Config, Image, configured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PROGRAMS = (*box.PROGRAMS, "debootstrap", "cp")
STEP_S = 240
CONTEXT = ""
"""In the place of a stage's name, which is never empty."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class AssemblyError(Exception):
    """A step failed; the text is the end of what it printed."""


class NoDebianError(AssemblyError):
    """Debian's packages cannot be had here."""


class Assembly:
    """One folder in which images are built.

    Args:
        folder: New, or not there yet; whoever made this removes it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._number = 0
        self._clients = registries.write(folder / "registries")
        self._debians: dict[str, Image] = {}
        self._built: dict[Path, dict[str, Image]] = {}

    def build(
        self,
        dockerfile: Path,
        around: Path,
        *,
        target: str | None = None,
        images: Mapping[str, Image] | None = None,
    ) -> Image:
        """Build one target, and only the stages it needs.

        Args:
            dockerfile: With its `.dockerignore` beside it.
            around: The context.
            target: A stage; None: the last one.
            images: What a FROM may name beside Debian.

        Raises:
            AssemblyError: A step failed; NoDebianError: the first of them.
            DockerfileError: The file uses what is not known here.
        """
        stages = parse(dockerfile.read_text())
        wanted = target or list(stages)[-1]
        built = self._built.setdefault(dockerfile, dict(images or {}))
        if CONTEXT not in built:
            built[CONTEXT] = Image(self._sent(dockerfile, around), Config())
        for stage in _needed(stages, wanted):
            if stage.name not in built:
                base = built[stage.base] if stage.base in built else self._debian(stage.base)
                built[stage.name] = self._stage(stage, base, built)
        return built[wanted]

    def _stage(self, stage: Stage, base: Image, sources: Mapping[str, Image]) -> Image:
        root = self._place(stage.name)
        _run(["cp", "--archive", "--reflink=auto", f"{base.root}/.", str(root)])
        image = Image(root, base.config.inherited())
        for step in stage.steps:
            image = replace(image, config=self._carry_out(step, image, sources))
        return image

    def _carry_out(self, step: Step, image: Image, sources: Mapping[str, Image]) -> Config:
        config = image.config
        match step.word:
            case "RUN":
                self._execute(step, image)
            case "COPY":
                _copy(step, image, sources[step.flags.get("from", CONTEXT)].root)
            case "WORKDIR":
                (image.root / step.text.lstrip("/")).mkdir(parents=True, exist_ok=True)
                return replace(config, workdir=step.text)
            case _:
                return configured(config, step)
        return config

    def _execute(self, step: Step, image: Image) -> None:
        config = image.config
        variables = {"PATH": PATH, "HOME": "/root", **self._clients, **config.env}
        binds = {registries.PLACE: self._folder / "registries", **self._caches(step)}
        as_docker_does = replace(config, env=variables)
        _run(box.building(image.root, ["/bin/sh", "-c", step.text], as_docker_does, binds))

    def _caches(self, step: Step) -> dict[str, Path]:
        """`--mount=type=cache,target=…`: a folder that outlives the step and is in no image."""
        if "mount" not in step.flags:
            return {}
        options = dict(option.split("=", 1) for option in step.flags["mount"].split(","))
        if options.pop("type") != "cache" or set(options) != {"target"}:
            raise DockerfileError(f"not understood: --mount={step.flags['mount']}")
        cache = self._folder / "cache" / options["target"].strip("/").replace("/", "-")
        cache.mkdir(parents=True, exist_ok=True)
        return {options["target"]: cache}

    def _debian(self, name: str) -> Image:
        """What `debian:SUITE…-slim` is made of: the essential packages of that release."""
        repository, _, tag = name.partition(":")
        if repository != "debian":
            raise DockerfileError(f"FROM {name}: only Debian can be made here")
        suite = tag.split("-")[0]
        if suite not in self._debians:
            self._debians[suite] = Image(self._bootstrapped(suite), Config(env={"PATH": PATH}))
        return self._debians[suite]

    def _bootstrapped(self, suite: str) -> Path:
        root, mirror = self._place(suite), registries.debian_mirror()
        where = [str(root), *([mirror] if mirror else [])]
        try:
            _run([*box.ALONE, "--mount-proc", "debootstrap", "--variant=minbase", suite, *where])
        except AssemblyError as error:
            raise NoDebianError(str(error)) from None
        if sources := registries.debian_sources(suite):
            (root / "etc/apt/sources.list.d/debian.sources").write_text(sources)
            (root / "etc/apt/sources.list").write_text("")
        return root

    def _sent(self, dockerfile: Path, around: Path) -> Path:
        """The context as it is sent to a builder: what the `.dockerignore` lets in and nothing else."""
        sent = self._place("context")
        for file in context.files(
            around, dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text()
        ):
            (sent / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(around / file, sent / file)
        return sent

    def _place(self, name: str) -> Path:
        self._number += 1
        place = self._folder / f"{self._number:02}-{name}"
        place.mkdir()
        place.chmod(0o755)
        return place


def _needed(stages: Mapping[str, Stage], target: str) -> list[Stage]:
    """The stages that a target is made of, each after those it needs."""
    if target not in stages:
        raise DockerfileError(f"there is no stage {target}")
    order: dict[str, Stage] = {}
    for name in stages[target].needs():
        if name in stages:
            order |= {stage.name: stage for stage in _needed(stages, name)}
    return [*order.values(), stages[target]]


def _copy(step: Step, image: Image, source: Path) -> None:
    """COPY: a folder's content into a folder, a file to a file or into a folder; root's, whoever had it."""
    *names, place = step.words()
    target = image.root / place.lstrip("/")
    for name in names:
        found = source / name.strip("/")
        into = target / found.name if place.endswith("/") and found.is_file() else target
        into.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            into.mkdir(parents=True, exist_ok=True)
        what = f"{found}/." if found.is_dir() else str(found)
        _run(["cp", "--recursive", "--no-dereference", "--preserve=mode,timestamps", what, str(into)])
        if "chmod" in step.flags:
            into.chmod(int(step.flags["chmod"], 8))


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=STEP_S,
        check=False,
    )
    if done.returncode != 0:
        printed = done.stdout.decode(errors="replace")[-3000:]
        raise AssemblyError(f"{command[-1]}\nfailed (exit status {done.returncode}):\n{printed}")
