"""Runs a program in a root file system of its own, with its own mounts and process numbers, by util-linux.

Mounts are made in the program's own namespace and end with it: nothing is left to unmount, however it ends.
The network is the machine's. This is a means of trying images and no sandbox.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.docker.image import Config

PROGRAMS = ("unshare", "nsenter", "setpriv", "chroot", "mount")

ALONE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"),
)
"""A program and all it starts end with whoever started it."""

ENTER = """
set -eu
root=$1 mode=$2
shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755,nosuid tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -m 1777 "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
while [ "$1" != -- ]; do
    mkdir -p "$root${1#*:}"
    mount --bind "${1%%:*}" "$root${1#*:}"
    shift
done
shift
[ "$mode" = rw ] || mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"
"""


def building(root: Path, words: Sequence[str], config: Config, binds: Mapping[str, Path]) -> list[str]:
    """The command line of a step of a build: writable.

    Args:
        root: The stage's.
        words: The step's own command.
        config: Who runs it, where, with which variables.
        binds: What is seen of the machine, by its place inside.
    """
    return [*_entered(root, "rw", binds), *_as_user(config.user), *_scrubbed(config, config.known), *words]


def running(root: Path, config: Config, env: Mapping[str, str], binds: Mapping[str, Path]) -> list[str]:
    """The command line of a container: the root read-only, no capability, none to be had.

    Args:
        root: The image's.
        config: The image's.
        env: What the one who starts it adds.
        binds: Its volumes.
    """
    return [
        *_entered(root, "ro", binds),
        *_as_user(config.user),
        *_scrubbed(config, {**config.env, **env}),
        *config.command,
    ]


def inside(pid: int, words: Sequence[str], config: Config, env: Mapping[str, str]) -> list[str]:
    """The command line that runs something beside process 1 of a container, as a HEALTHCHECK is run."""
    enter = ["nsenter", f"--target={pid}", "--mount", "--pid", "--root"]
    return [*enter, *_as_user(config.user), *_scrubbed(config, {**config.env, **env}), *words]


def first_process(unshare: int) -> int:
    """Process 1 of what `running` started, by its number outside; 0 while there is none."""
    children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
    return int(children[0]) if children else 0


def _entered(root: Path, mode: str, binds: Mapping[str, Path]) -> list[str]:
    return [
        *(*ALONE, "sh", "-c", ENTER, "enter", str(root), mode),
        *(f"{source}:{place}" for place, source in binds.items()),
        "--",
    ]


def _as_user(user: str) -> list[str]:
    if user == "0:0":
        return []
    uid, gid = user.split(":")
    account = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    return ["/usr/bin/setpriv", *account, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]


def _scrubbed(config: Config, variables: Mapping[str, str]) -> list[str]:
    assignments = [f"{name}={value}" for name, value in variables.items()]
    return ["/usr/bin/env", "--ignore-environment", f"--chdir={config.workdir}", *assignments]
