"""Results are streamed, checked and saved whole, and no store ever learns the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.client import AsyncClient, CorruptDownloadError
from tests.fakes.gateway import FakeGateway, serving
from tests.fakes.problems import problem

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.client import AsyncOutput

pytestmark = pytest.mark.anyio


def contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


@pytest.fixture
async def output(client: AsyncClient) -> AsyncOutput:
    job = await client.submit("cutout", inputs={"image": b"x"})
    return (await job.wait()).outputs["cutout"]


async def test_bytes_are_the_ones_promised(output: AsyncOutput, gateway: FakeGateway) -> None:
    assert await output.bytes() == gateway.content
    assert (output.content_type, output.size, output.metadata) == ("image/png", 15, {"width": 4})
    assert output.url == f"{gateway.url}/signed"


async def test_a_folder_gets_the_outputs_own_name(
    output: AsyncOutput, gateway: FakeGateway, tmp_path: Path
) -> None:
    saved = await output.save(tmp_path)

    assert saved == tmp_path / "cutout.png"
    assert contents(tmp_path) == {"cutout.png": gateway.content}


async def test_missing_folders_are_made(output: AsyncOutput, tmp_path: Path) -> None:
    assert (await output.save(tmp_path / "a" / "b.png")).is_file()


async def test_a_slash_at_the_end_means_a_folder(output: AsyncOutput, tmp_path: Path) -> None:
    assert await output.save(f"{tmp_path}/new/") == tmp_path / "new" / "cutout.png"


async def test_a_damaged_download_is_repeated(output: AsyncOutput, gateway: FakeGateway) -> None:
    gateway.served.append(b"damaged")

    assert await output.bytes() == gateway.content


async def test_bytes_that_stay_wrong_are_never_saved(
    output: AsyncOutput, gateway: FakeGateway, tmp_path: Path
) -> None:
    gateway.content = b"something else"

    with pytest.raises(CorruptDownloadError, match="sha256"):
        await output.save(tmp_path / "cutout.png")

    assert contents(tmp_path) == {}


async def test_unavailable_store_is_asked_again(output: AsyncOutput, gateway: FakeGateway) -> None:
    gateway.faults.append(problem(503, "store_error", "S3 is away", retry_after="0"))

    assert await output.bytes() == gateway.content


async def test_the_key_does_not_follow_a_redirect_to_the_store(
    output: AsyncOutput, gateway: FakeGateway
) -> None:
    with serving(FakeGateway(content=gateway.content)) as store:
        gateway.store_url = store.url

        await output.bytes()

        assert store.seen == [("GET", "/signed", None)]
