from __future__ import annotations

import pytest

from gateway.addresses import NOT_ALLOWED, names_bucket, refusal

PREFIXES = ("s3://shelf/acme/", "s3://whole", "s3://shelf/data", "s3://other-shelf/a/b/")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://shelf/acme/a.png",
        "s3://shelf/acme/deep/er/a b+c%20.png",
        "s3://whole/anything",
        "s3://shelf/data/x",
        "s3://other-shelf/a/b/c",
        "s3://shelf/acme/..hidden/...",
    ],
)
def test_what_lies_under_a_prefix_is_allowed(uri: str) -> None:
    assert refusal(uri, PREFIXES) is None


@pytest.mark.parametrize(
    "uri",
    [
        "s3://shelf/acme2/a",
        "s3://shelf/database/a",
        "s3://shelf/data",
        "s3://shelf2/acme/a",
        "s3://wholesale/a",
        "s3://other-shelf/a/c",
        "s3://shelf/Acme/a",
    ],
)
def test_what_only_looks_like_it_is_not(uri: str) -> None:
    assert refusal(uri, PREFIXES) == NOT_ALLOWED


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "s3://",
        "s3://shelf",
        "s3://shelf/",
        "s3:///acme/a",
        "s3://shelf/acme/../other/a",
        "s3://shelf/acme/./a",
        "s3://shelf/acme//a",
        "s3://shelf/acme/",
        "s3://shelf/acme/a\\..\\b",
        "s3://shelf/acme/a\n",
        "s3://shelf/acme/\x7f",
        "s3://SHELF/acme/a",
        "s3://shelf:80/acme/a",
        "s3://user@shelf/acme/a",
        "S3://shelf/acme/a",
        "ftp://shelf/acme/a",
        "/etc/passwd",
    ],
)
def test_what_is_no_plain_address_is_refused(uri: str) -> None:
    assert refusal(uri, PREFIXES) not in {None, NOT_ALLOWED}


def test_https_is_refused_with_what_to_do_instead() -> None:
    assert "not supported yet" in str(refusal("https://a.example/b", PREFIXES))


def test_without_prefixes_nothing_is_allowed() -> None:
    assert refusal("s3://shelf/acme/a", ()) == NOT_ALLOWED


def test_a_bucket_is_told_by_its_whole_name() -> None:
    assert names_bucket("s3://leveret/a", "leveret")
    assert not names_bucket("s3://leveret2/a", "leveret")
