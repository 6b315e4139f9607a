"""Where the URL and the key come from, and what is never mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.client import ConfigError
from gateway.client.settings import Target, find_target, read_env

if TYPE_CHECKING:
    from pathlib import Path

BOTH = {"LEVERET_URL": "https://leveret.example/api/", "LEVERET_API_KEY": "lev_a"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".leveret").mkdir()
    (tmp_path / ".leveret" / "env").write_text(
        "# for source\nexport LEVERET_URL='http://127.0.0.1:8123'\nexport LEVERET_API_KEY=lev_file\n"
    )
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    return inner


def test_the_environment_is_read() -> None:
    target = find_target(environ=BOTH)

    assert (target.url, target.api_key) == ("https://leveret.example/api", "lev_a")
    assert target.ws_url == "wss://leveret.example/api"


def test_arguments_come_first() -> None:
    assert find_target("http://other", environ=BOTH).url == "http://other"


def test_the_file_of_a_parent_folder_is_found(project: Path) -> None:
    target = find_target(environ={}, folder=project)

    assert (target.url, target.api_key) == ("http://127.0.0.1:8123", "lev_file")


def test_a_key_never_goes_to_an_address_from_elsewhere(project: Path) -> None:
    with pytest.raises(ConfigError, match="LEVERET_URL"):
        find_target(environ={"LEVERET_API_KEY": "lev_production"}, folder=project)


def test_the_sdk_does_not_look_for_files() -> None:
    with pytest.raises(ConfigError, match="make up"):
        find_target(environ={})


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host", "http://user:pw@host", "http://host?key=1", "http://"]
)
def test_unusable_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Target(url, "lev_a")


@pytest.mark.parametrize("key", ["with space", "line\nbreak", "ключ"])
def test_unusable_keys_are_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Target("http://host", key)
    assert key not in str(caught.value)


def test_env_lines(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text('A=1\nexport B="two words"\n#C=3\n\nD=x=y\n')

    assert read_env(path) == {"A": "1", "B": "two words", "D": "x=y"}
