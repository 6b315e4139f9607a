"""What a submit puts on the wire, and what it survives."""

from __future__ import annotations

from io import BytesIO, StringIO
from typing import TYPE_CHECKING

import pytest
from starlette.responses import HTMLResponse, RedirectResponse

from gateway.client import (
    ApiError,
    AsyncClient,
    InputError,
    OutcomeUnknownError,
    RetryPolicy,
    UnreachableError,
    Upload,
)
from tests.fakes.gateway import KEY, FakeGateway
from tests.fakes.problems import problem

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.responses import Response

pytestmark = pytest.mark.anyio


@pytest.fixture
def face(tmp_path: Path) -> Path:
    path = tmp_path / "face.jpg"
    path.write_bytes(b"\xff\xd8 a face")
    return path


async def test_path_of_an_image_input_is_uploaded_and_the_rest_is_params(
    client: AsyncClient, gateway: FakeGateway, face: Path
) -> None:
    job = await client.submit("cutout", image=str(face), size=128, priority=7)

    sent = gateway.submitted[0]
    assert sent.model == "cutout"
    assert sent.files == {"image": ("face.jpg", "image/jpeg", b"\xff\xd8 a face")}
    assert sent.options == {"params": {"size": 128}, "priority": 7}
    assert job.state == "queued"


async def test_a_reference_goes_as_json(client: AsyncClient, gateway: FakeGateway) -> None:
    await client.submit("cutout", image="s3://bucket/face.jpg", size=128)

    sent = gateway.submitted[0]
    assert sent.options == {"inputs": {"image": {"uri": "s3://bucket/face.jpg"}}, "params": {"size": 128}}
    assert not sent.files


@pytest.mark.parametrize(
    "make", [bytes, bytearray, BytesIO, Upload, lambda content: Upload(BytesIO(content), "x.png")]
)
async def test_anything_with_bytes_is_uploaded(
    client: AsyncClient, gateway: FakeGateway, make: type[bytes]
) -> None:
    await client.submit("cutout", image=make(b"content"))

    assert gateway.submitted[0].files["image"][2] == b"content"


async def test_text_input_is_never_taken_for_a_path(
    client: AsyncClient, gateway: FakeGateway, face: Path
) -> None:
    await client.submit("cutout", image=face, note=str(face))

    assert gateway.submitted[0].options["inputs"] == {"note": {"json": str(face)}}


async def test_string_that_is_no_input_is_a_param_though_it_names_a_file(
    client: AsyncClient, gateway: FakeGateway, face: Path
) -> None:
    await client.submit("cutout", image=face, style=str(face))

    assert gateway.submitted[0].options["params"] == {"style": str(face)}


async def test_the_schema_is_read_once_and_not_at_all_when_everything_is_said(
    client: AsyncClient, gateway: FakeGateway, face: Path
) -> None:
    await client.submit("cutout", inputs={"image": face}, params={"size": 1})
    assert not [path for _, path, _ in gateway.seen if "models" in path]

    await client.submit("cutout", image=str(face))
    await client.submit("cutout", image=str(face))
    assert len([path for _, path, _ in gateway.seen if "models" in path]) == 1


async def test_missing_file_is_refused_before_anything_is_sent(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    with pytest.raises(InputError, match=r"none at 'nowhere\.jpg'"):
        await client.submit("cutout", image="nowhere.jpg")

    assert not gateway.submitted


async def test_text_mode_file_is_refused(client: AsyncClient) -> None:
    with pytest.raises(InputError, match="binary"):
        await client.submit("cutout", image=StringIO("text"))


async def test_value_that_is_no_json_is_refused(client: AsyncClient, face: Path) -> None:
    with pytest.raises(InputError, match="JSON"):
        await client.submit("cutout", image=face, size=float("nan"))


async def test_lost_answer_makes_no_second_job(client: AsyncClient, gateway: FakeGateway, face: Path) -> None:
    gateway.faults.append("lose")

    job = await client.submit("cutout", image=face)

    assert len(gateway.submitted) == 2
    assert gateway.submitted[0] == gateway.submitted[1]
    assert list(gateway.jobs) == [job.id]


async def test_every_submit_has_a_key_of_its_own(
    client: AsyncClient, gateway: FakeGateway, face: Path
) -> None:
    await client.submit("cutout", image=face)
    await client.submit("cutout", image=face)

    assert len({sent.key for sent in gateway.submitted}) == 2
    assert None not in {sent.key for sent in gateway.submitted}


async def test_unavailable_is_repeated_after_the_time_it_asked_for(
    client: AsyncClient, gateway: FakeGateway, face: Path
) -> None:
    gateway.faults += [
        problem(503, "unavailable", "PostgreSQL is away", retry_after="0"),
        problem(429, "rate_limited", "too fast", retry_after="0"),
    ]

    assert (await client.submit("cutout", image=face)).id in gateway.jobs


async def test_asked_to_wait_longer_than_the_patience_gives_up_at_once(
    client: AsyncClient, gateway: FakeGateway, face: Path
) -> None:
    gateway.faults.append(problem(503, "unavailable", "PostgreSQL is away", retry_after="3600"))

    with pytest.raises(ApiError) as caught:
        await client.submit("cutout", image=face)

    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (503, "unavailable", 3600)
    assert not gateway.submitted


async def test_refusal_is_not_repeated_and_says_which_field(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    with pytest.raises(ApiError) as caught:
        await client.submit("cutuot", inputs={"image": b"x"})

    assert caught.value.code == "invalid_job"
    assert caught.value.errors[0]["path"] == "model"
    assert caught.value.request_id == "r-1"
    assert len(gateway.submitted) == 1


async def test_answer_that_stays_away_is_unknown_and_names_the_key(gateway: FakeGateway) -> None:
    gateway.faults.append("lose")
    async with AsyncClient(gateway.url, KEY, retry=RetryPolicy(budget_s=0)) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.submit("cutout", inputs={"image": b"x"})

        again = await client.submit(
            "cutout", inputs={"image": b"x"}, idempotency_key=caught.value.idempotency_key
        )

    assert list(gateway.jobs) == [again.id]


@pytest.mark.parametrize("doubt", [problem(503, "outcome_unknown", "lost"), problem(502, "", "bad gateway")])
async def test_a_gateways_own_doubt_is_unknown_too(gateway: FakeGateway, doubt: Response) -> None:
    gateway.faults.append(doubt)
    async with AsyncClient(gateway.url, KEY, retry=RetryPolicy(budget_s=0)) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.submit("cutout", inputs={"image": b"x"})


async def test_a_json_input_is_the_value_though_it_looks_like_the_apis_words(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    await client.submit("cutout", image={"uri": "s3://a/b"}, config={"uri": 1}, note={"json": "https://x"})

    assert gateway.submitted[0].options["inputs"] == {
        "image": {"uri": "s3://a/b"},
        "config": {"json": {"uri": 1}},
        "note": {"json": "https://x"},
    }


async def test_an_input_that_the_model_lacks_is_left_to_the_gateways_answer(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    await client.submit("cutout", inputs={"imagee": "face.jpg"})

    assert gateway.submitted[0].options["inputs"] == {"imagee": {"json": "face.jpg"}}


async def test_nothing_listening_is_unreachable_not_unknown(unused_url: str) -> None:
    async with AsyncClient(unused_url, KEY, retry=RetryPolicy(budget_s=0)) as client:
        with pytest.raises(UnreachableError, match="no answer from") as caught:
            await client.submit("cutout", inputs={"image": b"x"})

    assert not isinstance(caught.value, OutcomeUnknownError)


async def test_wrong_key_is_an_api_error(gateway: FakeGateway) -> None:
    async with AsyncClient(gateway.url, "lev_wrong") as client:
        with pytest.raises(ApiError) as caught:
            await client.models()

    assert caught.value.status == 401


async def test_an_answer_from_somebody_else_is_told_as_such(
    client: AsyncClient, gateway: FakeGateway
) -> None:
    gateway.faults.append(HTMLResponse("<h1>It works!</h1>"))

    with pytest.raises(ApiError, match="no JSON"):
        await client.models()


async def test_a_redirect_is_not_followed_with_the_key(client: AsyncClient, gateway: FakeGateway) -> None:
    gateway.faults.append(RedirectResponse("https://elsewhere.example/v1/models"))

    with pytest.raises(ApiError, match=r"set LEVERET_URL"):
        await client.models()

    assert len(gateway.seen) == 1
