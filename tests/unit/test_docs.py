"""What the documentation says of names, links and rules, held against the code. No server."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grimp
import pytest
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from gateway.client.settings import KEY_VARIABLE, URL_VARIABLE
from gateway.settings import GatewaySettings
from gpu_worker.settings import WorkerSettings
from scaler.settings import ScalerSettings
from shared.settings import CLIENT_VARIABLES, PREFIX, SECTIONS, ProcessSettings, Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[2]
UNSET = "\N{EN DASH}"
FOLDERS = [
    folder
    for folder in ROOT.iterdir()
    if folder.is_dir() and not folder.name.startswith(".") and folder.name != "build"
]
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in folder.rglob("*.md"))]
    if "node_modules" not in page.parts
)
PROCESSES = (GatewaySettings, WorkerSettings, ScalerSettings)
OF_THE_SUITE = {"LEVERET_TEST_RABBITMQ"}
"""Read by the tests' servers, by no process."""

BUILT = (ROOT / ".gitignore").read_text().split()
"""Made by a build: not in a fresh checkout."""

ROW = re.compile(r"^\| `(LEVERET_[A-Z0-9_]+)` \| (.*?) \|", re.MULTILINE)
VARIABLE = re.compile(r"\bLEVERET_[A-Z0-9_]*[A-Z0-9]\b(?!_?…)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
FILE = re.compile(
    r"`((?:gateway|gpu_worker|scaler|shared|deploy|examples|docs|requirements|benchmarks)/[\w./-]*)`"
)
MAKE = re.compile(r"\bmake ((?:[a-z]+)(?: (?:up|down))?)\b`")


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    """Every variable that a process reads, with its field."""
    for process in PROCESSES:
        for section, holder in process.model_fields.items():
            kind = holder.annotation
            assert isinstance(kind, type)
            assert issubclass(kind, Section)
            for name, field in kind.model_fields.items():
                yield f"{PREFIX}{section}_{name}".upper(), field


def _shown(field: FieldInfo) -> str:
    """A default as the page shows it."""
    value: Any = field.default
    if value is PydanticUndefined or value is None:
        return UNSET
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, tuple):
        value = list(value)
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _anchor(heading: str) -> str:
    """The address of a heading as GitHub makes it."""
    kept = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower())
    return kept.replace(" ", "-")


def test_every_setting_is_documented_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    expected = {name: _shown(field).rstrip("/`") for name, field in _fields()}
    found = {name: default.rstrip("/`") for name, default in ROW.findall(page)}
    assert found.keys() - expected.keys() == {URL_VARIABLE, KEY_VARIABLE} == set(CLIENT_VARIABLES)
    assert {name: found.get(name) for name in expected} == expected


def test_the_sections_are_the_known_ones() -> None:
    sections = {name for process in (ProcessSettings, *PROCESSES) for name in process.model_fields}
    assert sections == SECTIONS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_only_settings_that_exist(page: Path) -> None:
    known = {name for name, _ in _fields()} | CLIENT_VARIABLES | OF_THE_SUITE
    named = set(VARIABLE.findall(page.read_text()))
    assert {name for name in named if not any(real.startswith(name) for real in known)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = [
        target for target in LINK.findall(FENCE.sub("", page.read_text())) if not _resolves(page, target)
    ]
    assert broken == []


def _resolves(page: Path, target: str) -> bool:
    if "://" in target or target.startswith("mailto:"):
        return _well_formed(target)
    path, _, anchor = target.partition("#")
    place = page.parent / path if path else page
    if not place.exists() or not anchor:
        return place.exists()
    return anchor in {_anchor(heading) for heading in HEADING.findall(FENCE.sub("", place.read_text()))}


def _well_formed(target: str) -> bool:
    """Whether an address outside could be one; nobody is asked."""
    parts = urlsplit(target)
    if parts.scheme == "mailto":
        return "@" in parts.path
    return parts.scheme in {"http", "https"} and "." in (parts.hostname or "") and " " not in target


def test_addresses_outside_are_looked_at() -> None:
    assert _well_formed("https://semver.org/spec/v2.0.0.html")
    assert not any(
        map(_well_formed, ("htps://semver.org/", "https:///spec", "https://nowhere/x", "mailto:you"))
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_tests_and_targets_exist(page: Path) -> None:
    text = page.read_text()
    missing = [path for path in FILE.findall(text) if path not in BUILT and not (ROOT / path).exists()]
    missing += [f"{path}::{name}" for path, name in TEST.findall(text) if not _has_test(path, name)]
    makefile = (ROOT / "Makefile").read_text()
    missing += [
        f"make {word}"
        for words in MAKE.findall(text)
        for word in words.split()
        if not re.search(rf"^{word}:", makefile, re.MULTILINE)
    ]
    assert missing == []


def _has_test(path: str, name: str) -> bool:
    file = ROOT / path
    if not file.is_file() or not name:
        return file.is_file()
    tree = ast.parse(file.read_text())
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name for node in tree.body
    )


def test_the_contracts_forget_no_package() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    graph = grimp.build_graph("gateway", "gpu_worker", "scaler", "shared", include_external_packages=True)
    outside = {name for name in graph.modules if graph.is_module_squashed(name)} - sys.stdlib_module_names
    pure = next(each for each in contracts if each["name"].startswith("decisions are pure"))
    assert set(pure["forbidden_modules"]) == outside
    engine = next(each for each in contracts if each["name"].startswith("the engine process imports nothing"))
    assert {*engine["forbidden_modules"], "PIL", "numpy", "onnxruntime"} == outside | {"shared"}
    client = next(each for each in contracts if each["name"].startswith("the client stands alone"))
    own = {"cyclopts", "httpx2", "rich", "websockets"}
    assert set(client["forbidden_modules"]) - {"gateway.*", "gpu_worker", "scaler", "shared"} == outside - own
