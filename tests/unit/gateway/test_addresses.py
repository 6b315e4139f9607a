from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.addresses import NOT_ALLOWED, NOT_PUBLIC, input_refusal, names_bucket, refusal
from tests.fakes.addresses import FORBIDDEN

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


@pytest.mark.parametrize("uri", ["https://a.example/b", "http://a.example/b"])
def test_nothing_is_written_to_the_web(uri: str) -> None:
    assert refusal(uri, PREFIXES) == "must be an s3://bucket/key address"


@pytest.mark.parametrize("uri", ["s3://shelf/acme/a", "s3://shelf/others/a", "s3://shelf/acme/../a"])
def test_an_object_is_judged_the_same_as_an_input(uri: str) -> None:
    assert input_refusal(uri, PREFIXES) == refusal(uri, PREFIXES)


@pytest.mark.parametrize(
    "uri", ["https://a.example/b.png?X-Amz-Signature=0a", "https://a.example:8443", "https://1.1.1.1/"]
)
def test_an_input_may_come_from_the_web(uri: str) -> None:
    assert input_refusal(uri, ()) is None


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("http://a.example/b", "s3://bucket/key or https://"),
        ("ftp://a.example/b", "s3://bucket/key or https://"),
        ("HTTPS://a.example/b", "s3://bucket/key or https://"),
        ("https://user:pass@a.example/b", "user name"),
        ("https:///b", "https://host/path"),
        ("https://2130706433/", "no host"),
    ],
)
def test_what_is_no_plain_web_address_is_refused(uri: str, why: str) -> None:
    assert why in str(input_refusal(uri, PREFIXES))


@pytest.mark.parametrize("address", [address for address in FORBIDDEN if "%" not in address])
def test_an_address_inside_is_refused_before_a_job_is_made(address: str) -> None:
    uri = f"https://[{address}]/" if ":" in address else f"https://{address}/"
    assert input_refusal(uri, PREFIXES) == NOT_PUBLIC


def test_the_operator_may_allow_a_network_inside() -> None:
    allowed = [ip_network("10.1.0.0/16")]
    assert input_refusal("https://10.1.2.3/", (), allowed) is None
    assert input_refusal("https://10.2.2.3/", (), allowed) == NOT_PUBLIC


def test_without_prefixes_nothing_is_allowed() -> None:
    assert refusal("s3://shelf/acme/a", ()) == NOT_ALLOWED


def test_a_bucket_is_told_by_its_whole_name() -> None:
    assert names_bucket("s3://leveret/a", "leveret")
    assert not names_bucket("s3://leveret2/a", "leveret")
    assert not names_bucket("https://leveret/a", "leveret")
