"""The documentation pages: what stands between backticks is code."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.problems import KINDS
from gateway.routes import docs

SCRIPT = Path(docs.__file__).parents[1] / "pages" / "docs.js"
STUB = """
globalThis.addEventListener = () => {};
globalThis.fetch = () => new Promise(() => {});
globalThis.document = { createElement: (name) => ({
  parts: [], setAttribute() {}, append(...parts) { this.parts.push(...parts); }, name }) };
"""
ASK = """
const told = (node) => typeof node === "string" ? node : { [node.name]: node.parts.map(told) };
console.log(JSON.stringify(prose("Send `a <b>` or `c`.").map(told)));
"""


def test_the_page_of_errors_shows_code_as_code() -> None:
    page = "".join(docs._section(kind) for kind in KINDS.values())
    assert "`" not in page
    assert "<code>Authorization: Bearer lev_…</code>" in page


def test_code_on_the_page_of_errors_stays_escaped() -> None:
    assert docs._prose("a `<b>` c") == "a <code>&lt;b&gt;</code> c"


@pytest.mark.skipif(shutil.which("node") is None, reason="runs the page's script, which takes node")
def test_the_script_of_the_docs_shows_code_as_code(tmp_path: Path) -> None:
    script = tmp_path / "page.js"
    script.write_text(STUB + SCRIPT.read_text() + ASK)
    printed = subprocess.check_output([str(shutil.which("node")), str(script)], text=True)
    assert json.loads(printed) == ["Send ", {"code": ["a <b>"]}, " or ", {"code": ["c"]}, "."]
