"""`python -m gateway.keys`: what it refuses before it asks any server."""

from __future__ import annotations

import pytest

from gateway import keys

CREATE = ["create", "--tenant", "acme", "--name", "ci"]


@pytest.mark.parametrize("prefix", ["s3://ours/", "s3://ours/acme/"])
def test_leverets_own_bucket_is_no_prefix_to_allow(
    prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LEVERET_S3_BUCKET", "ours")

    assert keys.main([*CREATE, "--s3-prefix", "s3://theirs/", "--s3-prefix", prefix]) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"{prefix} lies in Leveret's own bucket, which no job may name: "
        "give a bucket of the tenant's own; uploads and outputs need no prefix\n"
    )


def test_a_prefix_is_refused_for_its_form(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        keys.main([*CREATE, "--s3-prefix", "https://theirs/"])
    assert "must be s3://bucket/prefix/" in capsys.readouterr().err
