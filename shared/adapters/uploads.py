"""How a file goes into S3: in one request, or in parts that each fit in memory. Part of the blobs adapter."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 5 * 1024 * 1024
"""The smallest part S3 takes, and what an upload holds in memory. A file up to it is put in one request."""
PARTS_AT_ONCE = 3
"""Over all uploads of a process: more wait, so that what they hold together stays bounded."""
MAX_PARTS = 10_000


class ObjectName(TypedDict):
    """A bucket and a key, under the names the driver gives them."""

    Bucket: str
    Key: str


class _Begun(ObjectName):
    UploadId: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file that is in S3 now.

    Attributes:
        size: Bytes.
        sha256: Hexadecimal digest of what was sent.
    """

    size: int
    sha256: str


class Upload:
    """One file on its way into S3, hashed piece by piece.

    Args:
        client: S3's.
        place: Where it goes.
        content_type: What it is.
        turns: Shared by all uploads; taken while a part is in memory.
    """

    def __init__(
        self, client: S3Client, place: ObjectName, content_type: str, turns: asyncio.Semaphore
    ) -> None:
        self._turns = turns
        self._client = client
        self._place = place
        self._content_type = content_type
        self._digest = hashlib.sha256()
        self._size = 0

    async def send(self, source: IO[bytes], size: int) -> Stored:
        """Send the whole file; `size` (bytes) decides how."""
        await (self._whole(source) if size <= PART_BYTES else self._in_parts(source, size))
        return Stored(size=self._size, sha256=self._digest.hexdigest())

    async def _whole(self, source: IO[bytes]) -> None:
        async with self._turns:
            body = await asyncio.to_thread(self._read, source, PART_BYTES)
            checksum = _base64(self._digest)  # of the whole is of its only part: hashed once
            await self._client.put_object(
                **self._place, Body=body, ContentType=self._content_type, ChecksumSHA256=checksum
            )

    async def _in_parts(self, source: IO[bytes], size: int) -> None:
        begun = await self._client.create_multipart_upload(
            **self._place, ContentType=self._content_type, ChecksumAlgorithm="SHA256"
        )
        upload: _Begun = {**self._place, "UploadId": begun["UploadId"]}
        try:
            parts = await self._send_parts(source, max(PART_BYTES, -(-size // MAX_PARTS)), upload)
            await self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            # Parts of an upload nobody ends are billed for ever; a bucket rule is the backstop.
            await asyncio.shield(self._client.abort_multipart_upload(**upload))
            raise

    async def _send_parts(
        self, source: IO[bytes], part_bytes: int, upload: _Begun
    ) -> list[CompletedPartTypeDef]:
        parts: list[CompletedPartTypeDef] = []
        while part := await self._send_part(source, part_bytes, upload, len(parts) + 1):
            parts.append(part)
        return parts

    async def _send_part(
        self, source: IO[bytes], part_bytes: int, upload: _Begun, number: int
    ) -> CompletedPartTypeDef | None:
        """The next part, or None at the end; its bytes are gone when this returns."""
        async with self._turns:
            body, checksum = await asyncio.to_thread(self._part, source, part_bytes)
            if not body:
                return None
            sent = await self._client.upload_part(
                **upload, PartNumber=number, Body=body, ChecksumSHA256=checksum
            )
            return {"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": checksum}

    def _part(self, source: IO[bytes], size: int) -> tuple[bytes, str]:
        body = self._read(source, size)
        return body, _base64(hashlib.sha256(body))

    def _read(self, source: IO[bytes], size: int) -> bytes:
        body = source.read(size)
        self._digest.update(body)
        self._size += len(body)
        return body


def _base64(digest: hashlib._Hash) -> str:
    """As the SHA-256 that travels with a body, so that S3 refuses one that changed on the way."""
    return base64.b64encode(digest.digest()).decode()
