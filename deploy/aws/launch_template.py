"""The launch template of one queue's machines, as `aws ec2 create-launch-template` takes it.

    python -m deploy.aws.launch_template images --image ACCOUNT.dkr.ecr.REGION.amazonaws.com/leveret:1 \
        --ami ami-… --profile leveret-worker --security-group sg-… > template.json
    aws ec2 create-launch-template --cli-input-json file://template.json

The type, the zone and the market are the scaler's to choose, so the template names none.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

USER_DATA = Path(__file__).with_name("user-data.sh")


def user_data(*, image: str, queue: str, secret: str, device: str) -> str:
    """The script that a machine runs at its first start.

    Raises:
        ValueError: A value has a character that a shell might take for its own.
    """
    text = USER_DATA.read_text()
    for name, value in {"IMAGE": image, "QUEUE": queue, "SECRET": secret, "DEVICE": device}.items():
        if not value or not set(value) <= _PLAIN:
            raise ValueError(f"{name.lower()}: {value!r} is no plain name")
        text = text.replace(f"@{name}@", value)
    return text


def launch_template(
    queue: str,
    *,
    image: str,
    ami: str,
    profile: str,
    security_groups: Sequence[str] = (),
    secret: str = "leveret/worker",  # noqa: S107  a name
    device: str = "cuda",
    disk_gb: int = 100,
) -> Mapping[str, Any]:
    """The template for `leveret-QUEUE`.

    Args:
        queue: The pool that its machines serve.
        image: Of the worker, in ECR or on the AMI's own disk.
        ami: With Docker, the AWS command line and, for a GPU, NVIDIA's container toolkit.
        profile: The instance profile: it may read the secret, the image, the bucket, and write logs.
        security_groups: By id.
        secret: In Secrets Manager: lines of NAME=value for the worker's environment.
        device: ``cuda`` or ``cpu``.
        disk_gb: Of the root disk.
    """
    script = user_data(image=image, queue=queue, secret=secret, device=device)
    disk = {"VolumeSize": disk_gb, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
    data: dict[str, Any] = {
        "ImageId": ami,
        "IamInstanceProfile": {"Name": profile},
        # Two hops: the answer has to get into the container, where the worker looks for interruption notices.
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 2,
            "HttpEndpoint": "enabled",
        },
        "InstanceInitiatedShutdownBehavior": "terminate",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": disk}],
        "UserData": base64.b64encode(script.encode()).decode(),
    }
    if security_groups:
        data["SecurityGroupIds"] = list(security_groups)
    return {"LaunchTemplateName": f"leveret-{queue}", "LaunchTemplateData": data}


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/_-@+")


def main() -> None:
    """Print it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m deploy.aws.launch_template")
    parser.add_argument("queue")
    for name in ("image", "ami", "profile"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--security-group", action="append", default=[], dest="security_groups")
    parser.add_argument("--secret", default="leveret/worker")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--disk-gb", type=int, default=100)
    asked = vars(parser.parse_args())
    print(json.dumps(launch_template(asked.pop("queue"), **asked), indent=2))


if __name__ == "__main__":
    main()
