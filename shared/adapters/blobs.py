"""The object store: inputs, outputs and model files. The only room where aioboto3 may be imported.

Bytes go between S3 and the disk in bounded pieces: no whole file is ever in memory, and the disk is touched
in threads. A call has a deadline that grows with the size of the body it moves, and is repeated a few times
by the driver; what still fails is a `StoreError`, which a job's own retries outlast.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aioboto3
import aiohttp
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.adapters.uploads import PARTS_AT_ONCE, ObjectName, Stored, Upload
from shared.errors import BadInput, InputUnavailable, StoreError
from shared.settings import S3

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

READ_BYTES = 1024 * 1024
"""A hop into a thread costs a fifth of a millisecond, so the disk is written in pieces worth one."""
HASHED_AT_ONCE = 256 * 1024
SLOWEST_BYTES_PER_S = 1024 * 1024
"""What a link must carry for a transfer to count as alive: the deadline is the timeout + size / this."""
CONNECT_TIMEOUT_S = 5.0
TRIES = 3
CONNECTIONS = 32

_ABSENT = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})
_REFUSED = frozenset({"403", "AccessDenied", "AllAccessDisabled"})
"""Not ours to read. A signature or key that S3 does not know is another matter: our own misconfiguration."""
_OWNED = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file that is on the disk now."""

    size: int
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What S3 says of an object without sending it."""

    size: int
    content_type: str


@asynccontextmanager
async def open_blobs(settings: S3) -> AsyncIterator[Blobs]:
    """Keep one client for the life of the process: making one reads 10 MB of service descriptions."""
    async with aioboto3.Session().client("s3", **_client_options(settings)) as client:
        yield Blobs(client, settings)


class Blobs:
    """Leveret's bucket, and the buckets its tenants may name.

    Every `ref` is a key of Leveret's own bucket or a whole ``s3://bucket/key``.
    """

    def __init__(self, client: S3Client, settings: S3) -> None:
        self._client = client
        self._bucket = settings.bucket
        self._turns = asyncio.Semaphore(PARTS_AT_ONCE)
        self._region = settings.region
        self._default_region = settings.endpoint is not None or settings.region == "us-east-1"
        self._timeout_s = settings.timeout_s
        self._url_ttl_s = settings.url_ttl_s

    def uri(self, key: str) -> str:
        """The address of a key of Leveret's own bucket: ``s3://bucket/key``."""
        return f"s3://{self._bucket}/{key}"

    @staticmethod
    def split(uri: str) -> tuple[str, str]:
        """Bucket and key of an ``s3://`` address.

        Raises:
            InputUnavailable: It is no such address.
        """
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not bucket or not key:
            raise InputUnavailable(f"{uri!r} is not an s3://bucket/key address")
        return bucket, key

    async def put_bytes(self, ref: str, body: bytes, content_type: str) -> Stored:
        """Write an object that is in memory.

        Raises:
            StoreError: S3 did not take it.
        """
        place = self._place(ref)
        with _writing(ref):
            async with asyncio.timeout(self._patience_s(len(body))):
                digest = await _digest(body)
                checksum = base64.b64encode(digest).decode()
                await self._client.put_object(
                    **place, Body=body, ContentType=content_type, ChecksumSHA256=checksum
                )
        return Stored(size=len(body), sha256=digest.hex())

    async def put_file(self, ref: str, path: Path, content_type: str) -> Stored:
        """Write a file, in parts where it is large; its digest is computed on the way.

        Raises:
            StoreError: S3 did not take it, or the file can't be read.
        """
        with _writing(ref):
            size = (await asyncio.to_thread(path.stat)).st_size
            async with asyncio.timeout(self._patience_s(size)):
                with path.open("rb") as source:
                    upload = Upload(self._client, self._place(ref), content_type, self._turns)
                    return await upload.send(source, size)

    async def fetch(self, ref: str, path: Path, *, max_bytes: int) -> Fetched:
        """Read an object into a file, which appears only when it is complete.

        Raises:
            InputUnavailable: There is none, or it may not be read.
            BadInput: It is longer than `max_bytes`.
            StoreError: S3 did not send all of it, or the disk did not take it.
        """
        draft = path.with_name(path.name + ".part")
        place = self._place(ref)
        try:
            with _reading(ref):
                async with asyncio.timeout(self._timeout_s) as deadline:
                    answer = await self._client.get_object(**place)
                    async with answer["Body"]:
                        size = answer["ContentLength"]
                        _check_size(ref, size, max_bytes)
                        deadline.reschedule(asyncio.get_running_loop().time() + self._patience_s(size))
                        await _to_disk(_pieces(answer["Body"]), draft)
                draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return Fetched(size=size, content_type=answer["ContentType"])

    async def stream(self, ref: str) -> AsyncGenerator[bytes, None]:
        """The object's bytes in pieces, at the pace of whoever takes them.

        Raises:
            InputUnavailable: There is none, or it may not be read.
            StoreError: S3 stopped sending.
        """
        place = self._place(ref)
        with _reading(ref):
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.get_object(**place)
            async with answer["Body"]:
                async for piece in _pieces(answer["Body"]):
                    yield piece

    async def head(self, ref: str) -> Head | None:
        """Size and type of an object, or None when there is none.

        Raises:
            InputUnavailable: It may not be read.
            StoreError: S3 did not say.
        """
        place = self._place(ref)
        try:
            with _reading(ref):
                async with asyncio.timeout(self._timeout_s):
                    answer = await self._client.head_object(**place)
        except _AbsentError:
            return None
        return Head(size=answer["ContentLength"], content_type=answer["ContentType"])

    async def presigned_get(
        self, ref: str, *, filename: str | None = None, content_type: str | None = None
    ) -> str:
        """An address by which anybody can read the object for `url_ttl_s` seconds; nothing is asked of S3."""
        asked: dict[str, Any] = {**self._place(ref)}
        if filename is not None:
            asked["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
        if content_type is not None:
            asked["ResponseContentType"] = content_type
        return await self._presigned("get_object", asked)

    async def presigned_put(self, ref: str, content_type: str) -> str:
        """An address to which anybody can write the object, with just this ``Content-Type``."""
        return await self._presigned("put_object", {**self._place(ref), "ContentType": content_type})

    async def make_bucket(self) -> None:
        """Create Leveret's bucket unless it is there.

        Raises:
            StoreError: S3 refused.
        """
        options: dict[str, Any] = {"Bucket": self._bucket}
        if not self._default_region:
            options["CreateBucketConfiguration"] = {"LocationConstraint": self._region}
        with _writing(self._bucket):
            async with asyncio.timeout(self._timeout_s):
                try:
                    await self._client.create_bucket(**options)
                except ClientError as error:
                    if _code(error) not in _OWNED:
                        raise

    async def ping(self) -> None:
        """Raise StoreError unless the bucket is there and ours."""
        with _writing(self._bucket):
            async with asyncio.timeout(self._timeout_s):
                await self._client.head_bucket(Bucket=self._bucket)

    def _place(self, ref: str) -> ObjectName:
        bucket, key = self.split(ref) if "://" in ref else (self._bucket, ref)
        return {"Bucket": bucket, "Key": key}

    def _patience_s(self, size: int) -> float:
        return self._timeout_s + size / SLOWEST_BYTES_PER_S

    async def _presigned(self, operation: str, asked: dict[str, Any]) -> str:
        with _writing(asked["Key"]):
            return await self._client.generate_presigned_url(
                operation, Params=asked, ExpiresIn=self._url_ttl_s
            )


class _AbsentError(InputUnavailable):
    """There is no such object (or bucket): what `head` answers with None."""


async def _digest(body: bytes) -> bytes:
    """In a thread where that costs more than the change of threads."""
    if len(body) <= HASHED_AT_ONCE:
        return hashlib.sha256(body).digest()
    return (await asyncio.to_thread(hashlib.sha256, body)).digest()


def _client_options(settings: S3) -> dict[str, Any]:
    access, secret = settings.access_key, settings.secret_key
    return {
        "region_name": settings.region,
        "endpoint_url": settings.endpoint,
        "aws_access_key_id": access.get_secret_value() if access else None,
        "aws_secret_access_key": secret.get_secret_value() if secret else None,
        "config": _config(settings),
    }


def _config(settings: S3) -> Config:
    return Config(
        signature_version="s3v4",
        connect_timeout=min(CONNECT_TIMEOUT_S, settings.timeout_s),
        read_timeout=settings.timeout_s / TRIES,
        retries={"total_max_attempts": TRIES, "mode": "standard"},
        max_pool_connections=CONNECTIONS,
        # Bodies carry their own signed checksum, computed in a thread; the driver would hash on the loop.
        s3={
            "addressing_style": "path" if settings.endpoint else "auto",
            "payload_signing_enabled": False,
        },
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


@contextmanager
def _reading(ref: str) -> Iterator[None]:
    """Translate what goes wrong with an object a caller named."""
    try:
        with _writing(ref):
            yield
    except StoreError as error:
        code = _code(error.__cause__) if isinstance(error.__cause__, ClientError) else ""
        if code in _ABSENT:
            raise _AbsentError(f"{ref} does not exist") from error
        if code in _REFUSED:
            raise InputUnavailable(f"{ref} may not be read") from error
        raise


@contextmanager
def _writing(ref: str) -> Iterator[None]:
    """Translate the driver's, the network's and the disk's errors."""
    try:
        yield
    except TimeoutError as error:
        raise StoreError(f"S3 took too long over {ref}") from error
    except (BotoCoreError, ClientError, aiohttp.ClientError, OSError) as error:
        raise StoreError(f"S3 failed over {ref}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Short, and without the endpoint that the driver's own text names; the cause keeps that for the logs."""
    if isinstance(error, ClientError):
        return _code(error)
    if isinstance(error, OSError) and not isinstance(error, aiohttp.ClientError):
        return error.strerror or type(error).__name__
    return type(error).__name__


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _check_size(ref: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise BadInput(f"{ref} has {size} bytes; at most {max_bytes} are allowed")


async def _pieces(body: Any) -> AsyncIterator[bytes]:
    """The body in pieces of about READ_BYTES; the driver raises when it ends short of its length."""
    piece = bytearray()
    while chunk := await body.read(READ_BYTES):
        piece += chunk
        if len(piece) >= READ_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


async def _to_disk(pieces: AsyncIterator[bytes], path: Path) -> None:
    with path.open("wb") as target:
        async for piece in pieces:
            await asyncio.to_thread(target.write, piece)
