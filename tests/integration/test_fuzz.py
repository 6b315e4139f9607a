"""What the API's description allows, and some of what it does not, sent to a real gateway by Schemathesis."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway_process import Backstage, GatewayProcess, gateway_process

pytestmark = [pytest.mark.anyio, pytest.mark.stack, pytest.mark.timeout(300)]

PROGRAM = Path(sys.executable).with_name("schemathesis")
EXAMPLES = 4
"""For each operation and kind of data, beside the edges of each field: few, and the same ones each time."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "use_after_free",
)
LIMIT_S = 240


CUTOUT = """
name = "cutout"
queue = "images"
backend = "python"
handler = "cutout:run"
[inputs.image]
kind = "image"
[outputs.cutout]
kind = "image"
"""
"""The model of the description's examples: only its jobs are accepted."""


@pytest.fixture(scope="module")
def gateway(stack_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    model = folder / "catalog" / "cutout"
    model.mkdir(parents=True)
    (model / "model.toml").write_text(CUTOUT)
    with gateway_process(stack_env, folder, LEVERET_CATALOG_PATH=str(model.parent)) as started:
        yield started


@pytest.fixture(scope="module")
async def operator(behind: Backstage) -> str:
    key = await behind.keys.create("fuzz", "fuzz", "operator")
    await behind.keys.allow_prefixes("fuzz", ["s3://my-bucket/"])  # the examples' own
    return key


async def test_no_request_meets_a_defect_or_an_answer_that_is_not_described(
    gateway: GatewayProcess, behind: Backstage, operator: str, tmp_path: Path
) -> None:
    config = tmp_path / "schemathesis.toml"  # none of the checkout's
    config.write_text("")
    command = [
        *(str(PROGRAM), "--config-file", str(config), "run", f"{gateway.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {operator}", "--request-timeout", "20"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--checks", ",".join(CHECKS)),
        *("--max-examples", str(EXAMPLES), "--generation-deterministic", "--suppress-health-check", "all"),
        *("--workers", "1", "--warnings", "off", "--no-color"),
    ]
    done = subprocess.run(  # noqa: ASYNC221  nothing else runs here meanwhile
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    # And it came further than the door: jobs were accepted, and the gateway lives
    assert await behind.database.read("select from specs where tenant = 'fuzz'")
    assert gateway.process.poll() is None
    assert '"request.failed"' not in gateway.log.read_text()
