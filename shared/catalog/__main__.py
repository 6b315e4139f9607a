"""`python -m shared.catalog DIR`: check every model folder of a catalog and pin its files in the index.

`python -m shared.catalog check DIR [--json]` only looks, and lists every mistake of a catalog or one model's
folder. Exit codes: 0 well, 1 mistakes were found, 2 usage.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from shared.catalog import CatalogError, check_catalog, load_catalog, write_index
from shared.catalog.check import Report

_USAGE = "usage: python -m shared.catalog DIR\n       python -m shared.catalog check DIR [--json]\n"


def main(arguments: list[str]) -> int:
    """Check, and pin where that is asked for; returns the exit code."""
    as_json = "--json" in arguments
    words = [word for word in arguments if word != "--json"]
    if len(words) == 2 and words[0] == "check":  # noqa: PLR2004  the word and its folder
        return _check(Path(words[1]), as_json=as_json)
    if len(words) != 1 or as_json or words[0].startswith("-"):
        sys.stderr.write(_USAGE)
        return 2
    return _pin(Path(words[0]))


def _pin(root: Path) -> int:
    try:
        models = load_catalog(root).models
    except CatalogError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    index = write_index(root)
    sys.stdout.write(f"{index}: pinned {', '.join(model.ref for model in models) or 'nothing'}\n")
    return 0


def _check(path: Path, *, as_json: bool) -> int:
    try:
        report = check_catalog(path)
    except CatalogError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{json.dumps(_document(report))}\n" if as_json else _text(report))
    return 0 if report.ok else 1


def _document(report: Report) -> dict[str, object]:
    return {
        "ok": report.ok,
        "models": [
            {
                "ref": model.ref,
                "folder": str(model.folder),
                "queue": model.queue,
                "pinned": model.digests is not None,
            }
            for model in report.models
        ],
        "mistakes": [
            {"file": each.file, "key": each.key, "text": each.text, "fatal": each.fatal}
            for each in report.mistakes
        ],
    }


def _text(report: Report) -> str:
    lines = [f"{'error' if each.fatal else 'warning'}: {each}" for each in report.mistakes]
    if report.ok:
        lines.append(f"well: {', '.join(model.ref for model in report.models)}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
