"""The object store against a real S3 (SeaweedFS, which checks signatures, expiry and checksums)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from botocore.exceptions import ClientError

from shared.adapters import uploads
from shared.adapters.blobs import Blobs, Head, open_blobs
from shared.errors import BadInput, InputUnavailable, StoreError
from shared.settings import S3

pytestmark = [pytest.mark.anyio, pytest.mark.stack]


def settings_of(s3: dict[str, str], **changed: Any) -> S3:
    fields = {name.removeprefix("LEVERET_S3_").lower(): value for name, value in s3.items()}
    return S3(**(fields | changed))


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


@pytest.fixture
async def blobs(s3: dict[str, str]) -> AsyncIterator[Blobs]:
    async with open_blobs(settings_of(s3)) as opened:
        yield opened


async def test_a_small_object_comes_back_as_it_was(blobs: Blobs, tmp_path: Path) -> None:
    await blobs.put_bytes("acme/uploads/one", b"\x00hare\xff", "image/png")

    fetched = await blobs.fetch("acme/uploads/one", tmp_path / "one", max_bytes=100)

    assert (tmp_path / "one").read_bytes() == b"\x00hare\xff"
    assert (fetched.size, fetched.content_type) == (6, "image/png")
    assert await blobs.head(blobs.uri("acme/uploads/one")) == Head(size=6, content_type="image/png")


async def test_an_empty_object_is_an_object(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    stored = await blobs.put_file("empty", tmp_path / "empty", "text/plain")
    fetched = await blobs.fetch("empty", tmp_path / "back", max_bytes=0)

    assert (stored.size, stored.sha256) == (0, hashlib.sha256().hexdigest())
    assert fetched.size == 0
    assert (tmp_path / "back").exists()


@pytest.mark.parametrize(
    "size", [1, uploads.PART_BYTES, uploads.PART_BYTES + 1, 2 * uploads.PART_BYTES + 12345]
)
async def test_a_file_of_any_size_keeps_its_bytes_and_its_digest(
    blobs: Blobs, tmp_path: Path, size: int
) -> None:
    body = os.urandom(size)
    await asyncio.to_thread((tmp_path / "file").write_bytes, body)

    stored = await blobs.put_file("acme/job/1/mask.png", tmp_path / "file", "image/png")
    await blobs.fetch("acme/job/1/mask.png", tmp_path / "back", max_bytes=size)

    assert (stored.size, stored.sha256) == (size, hashlib.sha256(body).hexdigest())
    assert hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest() == stored.sha256
    assert await blobs.head("acme/job/1/mask.png") == Head(size=size, content_type="image/png")


async def test_an_object_streams_in_pieces(blobs: Blobs) -> None:
    body = os.urandom(3 * 1024 * 1024 + 7)
    await blobs.put_bytes("streamed", body, "application/octet-stream")

    pieces = [piece async for piece in blobs.stream(blobs.uri("streamed"))]

    assert b"".join(pieces) == body
    assert len(pieces) > 2


async def test_a_stream_left_early_frees_its_connection(s3: dict[str, str]) -> None:
    async with open_blobs(settings_of(s3)) as blobs:
        await blobs.put_bytes("long", os.urandom(4 * 1024 * 1024), "application/octet-stream")
        for _ in range(40):  # more than there are connections
            stream = blobs.stream("long")
            async for _piece in stream:
                break
            await stream.aclose()
        assert await blobs.head("long")


async def test_what_is_absent_is_the_callers_error(blobs: Blobs, tmp_path: Path) -> None:
    assert await blobs.head("nowhere") is None
    assert await blobs.head("s3://no-such-bucket/nowhere") is None
    for ref in ("nowhere", "s3://no-such-bucket/nowhere"):
        with pytest.raises(InputUnavailable, match="does not exist"):
            await blobs.fetch(ref, tmp_path / "nowhere", max_bytes=10)
        with pytest.raises(InputUnavailable):
            await anext(aiter(blobs.stream(ref)))
    assert names_in(tmp_path) == []


async def test_what_is_too_long_leaves_no_file(blobs: Blobs, tmp_path: Path) -> None:
    await blobs.put_bytes("large", b"x" * 5_000_000, "text/plain")

    with pytest.raises(BadInput, match="5000000 bytes; at most 4999999"):
        await blobs.fetch("large", tmp_path / "large", max_bytes=4_999_999)

    assert names_in(tmp_path) == []


async def test_a_signed_address_reads_without_a_key(blobs: Blobs) -> None:
    await blobs.put_bytes("signed", b"hare", "image/png")

    url = await blobs.presigned_get("signed", filename='hä"re.png', content_type="application/x-hare")

    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)
        refused = await client.get(url.replace("X-Amz-Signature=", "X-Amz-Signature=0"))
    assert answer.content == b"hare"
    assert answer.headers["content-type"] == "application/x-hare"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''h%C3%A4%22re.png"
    assert refused.status_code == 403


async def test_a_signed_address_takes_an_upload(blobs: Blobs) -> None:
    url = await blobs.presigned_put("acme/uploads/two", "image/jpeg")

    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.put(url, content=b"jpeg", headers={"content-type": "image/jpeg"})

    assert answer.is_success
    assert await blobs.head("acme/uploads/two") == Head(size=4, content_type="image/jpeg")


async def test_a_body_that_changed_on_the_way_is_refused(blobs: Blobs) -> None:
    of_another = base64.b64encode(hashlib.sha256(b"here").digest()).decode()
    with pytest.raises(ClientError):
        await blobs._client.put_object(
            Bucket=blobs._bucket, Key="changed", Body=b"hare", ChecksumSHA256=of_another
        )


async def test_a_wrong_secret_is_not_blamed_on_the_caller(s3: dict[str, str], tmp_path: Path) -> None:
    async with open_blobs(settings_of(s3, secret_key="wrong")) as blobs:
        with pytest.raises(StoreError):
            await blobs.fetch("any", tmp_path / "any", max_bytes=10)
        with pytest.raises(StoreError) as caught:
            await blobs.put_bytes("any", b"", "text/plain")
    assert "wrong" not in str(caught.value)


async def test_the_bucket_is_made_once_and_missed_when_gone(s3: dict[str, str]) -> None:
    async with open_blobs(settings_of(s3, bucket="made-here")) as blobs:
        with pytest.raises(StoreError):
            await blobs.ping()
        await blobs.make_bucket()
        await blobs.make_bucket()
        await blobs.ping()


@pytest.mark.parametrize("uri", ["s3://bucket", "s3:///key", "https://host/key", "s3://bucket/", "key"])
def test_a_wrong_address_is_refused(uri: str) -> None:
    with pytest.raises(InputUnavailable, match="is not an s3://bucket/key address"):
        Blobs.split(uri)
