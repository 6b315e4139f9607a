from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from shared.errors import Misconfigured
from shared.settings import ProcessSettings, read_settings
from shared.webaddress import WebAddress, forbidden, read
from tests.fakes.addresses import FORBIDDEN, PUBLIC


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("https://a.example/b", WebAddress("a.example", 443, "/b")),
        ("https://A.Example", WebAddress("a.example", 443, "/")),
        ("https://a.example?x=1", WebAddress("a.example", 443, "/?x=1")),
        ("https://a.example:8443/b%20c?d=/e:f@g", WebAddress("a.example", 8443, "/b%20c?d=/e:f@g")),
        ("https://a.example/@b", WebAddress("a.example", 443, "/@b")),
        ("https://my_files.s3-x.example/", WebAddress("my_files.s3-x.example", 443, "/")),
        ("https://xn--bcher-kva.example/", WebAddress("xn--bcher-kva.example", 443, "/")),
        ("https://localhost/", WebAddress("localhost", 443, "/")),
        ("https://1.1.1.1/", WebAddress("1.1.1.1", 443, "/")),
        ("https://[2600:1F18::0:1]:444/", WebAddress("2600:1f18::1", 444, "/")),
        ("https://3.example4/", WebAddress("3.example4", 443, "/")),
    ],
)
def test_an_address_is_taken_apart(uri: str, address: WebAddress) -> None:
    assert read(uri) == address


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://",
        "https:///b",
        "https:a.example",
        "//a.example/b",
        "http://a.example/",
        "Https://a.example/",
        " https://a.example/",
        "https://a.example/\n",
        "https://a.example/b c",
        "https://a.exa\tmple/",
        "https://a.example\\@b.example/",
        "https://a.example\\.b.example/",
        "https://user@a.example/",
        "https://user:pass@a.example/",
        "https://a.example#@b.example/",
        "https://a.example/#part",
        "https://a.example/?q#part",
        "https://a.example:/x:99999",
        "https://a.example:0/",
        "https://a.example:65536/",
        "https://a.example:443x/",
        "https://a.example:-1/",
        "https://.example/",
        "https://a..example/",
        "https://a.example./",
        "https://-a.example/",
        "https://a-.example/",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 130}example/",
        "https://b\u00fccher.example/",
        "https://a.example/\u00e4",
        "https://\u2488.example/",
        "https://a\u3002example/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://127.0.0.01/",
        "https://1.2.3.4.5/",
        "https://a.example.0x7f/",
        "https://%31%32%37.0.0.1/",
        "https://[::1/",
        "https://::1/",
        "https://[::1]x/",
        "https://[fe80::1%251]/",
        "https://[v1.a]/",
        "https://[127.0.0.1]x/",
    ],
)
def test_what_could_be_read_in_two_ways_is_no_address(uri: str) -> None:
    with pytest.raises(ValueError, match=r"must|names"):
        read(uri)


@pytest.mark.parametrize(
    ("uri", "authority", "shown"),
    [
        ("https://a.example/b?secret", "a.example", "https://a.example/b"),
        ("https://a.example:443/", "a.example", "https://a.example/"),
        ("https://a.example:8443/b", "a.example:8443", "https://a.example:8443/b"),
        ("https://[2600:1f18::1]/", "[2600:1f18::1]", "https://[2600:1f18::1]/"),
        ("https://[2600:1f18::1]:444/", "[2600:1f18::1]:444", "https://[2600:1f18::1]:444/"),
    ],
)
def test_it_is_shown_without_its_query(uri: str, authority: str, shown: str) -> None:
    assert (read(uri).authority, str(read(uri))) == (authority, shown)


def test_a_host_may_be_a_number() -> None:
    assert read("https://1.1.1.1/").literal == ip_address("1.1.1.1")
    assert read("https://[2600:1f18::1]/").literal == ip_address("2600:1f18::1")
    assert read("https://a.example/").literal is None


@pytest.mark.parametrize(("address", "what"), FORBIDDEN.items())
def test_what_is_not_public_is_forbidden(address: str, what: str) -> None:
    assert forbidden(ip_address(address)), what


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_not(address: str) -> None:
    assert not forbidden(ip_address(address))


def test_only_what_the_operator_allows_is_excepted() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32"))
    assert not forbidden(ip_address("10.1.255.255"), allowed)
    assert not forbidden(ip_address("fd00:1::9"), allowed)
    assert forbidden(ip_address("10.2.0.0"), allowed)
    assert forbidden(ip_address("fd00:2::9"), allowed)
    assert forbidden(ip_address("::ffff:10.1.0.1"), allowed)


def test_the_networks_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEVERET_WEB_ALLOW", '["10.1.0.0/16", "fd00:1::/32"]')
    assert read_settings(ProcessSettings).web.allow == (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32"))


@pytest.mark.parametrize("value", ['["10.1.2.3/16"]', '["a.example"]'])
def test_a_network_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LEVERET_WEB_ALLOW", value)
    with pytest.raises(Misconfigured, match="LEVERET_WEB_ALLOW"):
        read_settings(ProcessSettings)
