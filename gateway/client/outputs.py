"""The results of a job as things to read and save: streamed, checked, never half written. No driver enters.

Every download asks the gateway for the output again, because a signed URL in an old answer may have expired.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import os
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

from gateway.client.errors import ApiError, CorruptDownloadError, UnreachableError
from gateway.client.retry import Patience
from gateway.client.transport import is_transient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from gateway.client.transport import Transport

CHUNK_BYTES = 1 << 18
Chunk = bytes
"""The built-in type, out of the way of the method of that name."""
MAX_CORRUPT = 2
"""Downloads with a wrong checksum after which the stored bytes themselves must be wrong."""
# What mimetypes leaves to the system's tables, which a bare machine lacks.
_EXTENSIONS = {"image/webp": ".webp", "audio/wav": ".wav", "audio/x-wav": ".wav", "text/plain": ".txt"}


class OutputRecord:
    """What a job says of one output.

    Attributes:
        name: The output's name.
        job_id: The job that made it.
        raw: The gateway's own words: uri, url, content_type, size, sha256, metadata.
    """

    def __init__(self, job_id: str, name: str, raw: Mapping[str, Any]) -> None:
        self.job_id = job_id
        self.name = name
        self.raw = raw

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.content_type} {self.size} bytes>"

    @property
    def url(self) -> str | None:
        """A signed link for anyone, valid for a while; None in an answer that has none."""
        return self.raw.get("url")

    @property
    def uri(self) -> str:
        """Where the bytes lie, `s3://…`."""
        return str(self.raw.get("uri", ""))

    @property
    def content_type(self) -> str:
        """The media type."""
        return str(self.raw.get("content_type") or "application/octet-stream")

    @property
    def size(self) -> int | None:
        """Bytes."""
        return self.raw.get("size")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the algorithm says about it, such as an image's width."""
        return self.raw.get("metadata") or {}

    @property
    def filename(self) -> str:
        """A fitting file name: the output's own with the extension of its type."""
        bare = self.content_type.partition(";")[0].strip()
        return self.name + (_EXTENSIONS.get(bare) or mimetypes.guess_extension(bare) or ".bin")

    def _check(self, digest: str, size: int) -> None:
        promised = self.raw.get("sha256")
        if promised and promised != digest:
            raise CorruptDownloadError(
                f"output {self.name!r} of job {self.job_id}: {size} bytes of sha256 {digest}, not {promised}"
            )


class AsyncOutput(OutputRecord):
    """One output of a job, to read or to save."""

    def __init__(self, transport: Transport, job_id: str, name: str, raw: Mapping[str, Any]) -> None:
        super().__init__(job_id, name, raw)
        self._transport = transport

    async def bytes(self) -> Chunk:
        """The whole output in memory.

        Raises:
            CorruptDownloadError: The bytes are not the ones the job promised, also when asked again.
            ApiError: The gateway refused.
            UnreachableError: Nothing answered.
        """
        memory = BytesIO()
        await self._fetch(memory)
        return memory.getvalue()

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the output to a file, whole or not at all; returns its path.

        Args:
            path: A file, or a folder (one that exists, or ends in a slash) for the output's own name.

        Raises:
            CorruptDownloadError: The bytes are not the ones the job promised, also when asked again.
            ApiError: The gateway refused.
            UnreachableError: Nothing answered.
        """
        # pathlib forgets the slash that says "a folder", also of one that is yet to be made.
        as_folder = str(path).endswith(("/", os.sep))
        target = await asyncio.to_thread(self._resolve, Path(path), as_folder=as_folder)
        part = target.with_name(f".{target.name}.{uuid4().hex}.part")
        try:
            with await asyncio.to_thread(part.open, "xb") as file:
                await self._fetch(file)
            return await asyncio.to_thread(part.replace, target)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)

    def _resolve(self, path: Path, *, as_folder: bool) -> Path:
        target = path / self.filename if as_folder or path.is_dir() else path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    async def _fetch(self, file: IO[Chunk]) -> None:
        patience, corrupt = Patience(self._transport.retry), 0
        while True:
            try:
                return await self._fetch_once(file)
            except CorruptDownloadError:
                corrupt += 1
                pause_s = patience.spend()
                if pause_s is None or corrupt == MAX_CORRUPT:
                    raise
            except (ApiError, UnreachableError) as error:
                pause_s = patience.spend(error.retry_after_s)
                if pause_s is None or not is_transient(error):
                    raise
            await asyncio.sleep(pause_s)

    async def _fetch_once(self, file: IO[Chunk]) -> None:
        digest = hashlib.sha256()
        file.seek(0)
        file.truncate()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
        self._check(digest.hexdigest(), file.tell())

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """The bytes as they arrive, unchecked and in one try: for what fits neither memory nor a file."""
        async with self._transport.stream(f"/v1/jobs/{self.job_id}/outputs/{quote(self.name)}") as response:
            async for chunk in response.aiter_bytes(CHUNK_BYTES):
                yield chunk
