"""`leveret models`: what the gateway serves, the start of a new model, and what is wrong with one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from gateway.client.cli.check import check_models, loaded
from gateway.client.cli.exits import FAILED, OK, printable
from gateway.client.cli.scaffold import write_model
from gateway.client.cli.session import NO_OPTIONS, Common, print_json

if TYPE_CHECKING:
    from collections.abc import Mapping

models = App(
    name="models",
    help="List the models that the gateway serves, start a new one, or check a folder of them.",
    help_format="plaintext",
    result_action="return_value",
)


@models.default
async def list_models(common: Common = NO_OPTIONS) -> int:
    """List the models that the gateway serves.

    Args:
        common: Options of every command.
    """
    async with common.client() as client:
        listed = await client.models()
    if common.json:
        print_json(listed)
    else:
        _print_models(listed)
    return OK


@models.command
def new(
    name: str,
    /,
    *,
    backend: Literal["python", "onnx"] = "python",
    queue: Annotated[str, Parameter(name=["--queue", "-q"])] = "default",
    common: Common = NO_OPTIONS,
) -> int:
    """Write a folder with a model that runs, to be changed into yours.

    Args:
        name: The model's name, or a path that ends in it: `blur`, `models/blur`.
        backend: `python` for a function, `onnx` for a graph with its pre- and postprocessing.
        queue: The pool of workers that runs it.
        common: Options of every command.
    """
    folder = Path(name)
    written = write_model(folder, backend=backend, queue=queue)
    if common.json:
        print_json({"folder": str(folder), "files": [str(path) for path in written]})
        return OK
    lines = [f"wrote {path}" for path in written]
    first = "run it" if backend == "python" else f"put your graph at {folder / 'model.onnx'}, then run it"
    sys.stdout.write("\n".join([*lines, f"{first}:", f"  leveret run {folder} image=@photo.jpg -o out/", ""]))
    return OK


@models.command
def check(
    folder: Path,
    /,
    *,
    load: Annotated[bool, Parameter(negative="")] = False,
    device: Literal["cpu", "cuda"] = "cpu",
    common: Common = NO_OPTIONS,
) -> int:
    """Tell every mistake of a model's folder or of a catalog, as far as it shows without running it.

    Exit codes: 0 well, 1 a mistake was found or a model does not load, 2 usage.

    Args:
        folder: A folder with a model.toml, or a folder of such folders.
        load: Also load each model and warm it up, in its own Python.
        device: What to load it on; cuda fails rather than falling back.
        common: Options of every command.
    """
    report = check_models(folder)
    if load:
        report["loaded"] = [loaded(model, device) for model in report["models"] if model["ok"]]
    well = report["ok"] and all(each["ok"] for each in report.get("loaded", ()))
    if common.json:
        print_json(report | {"ok": well})
    else:
        _print_report(report)
    return OK if well else FAILED


def _print_report(report: Mapping[str, Any]) -> None:
    lines = [f"{'✗' if each['fatal'] else '·'} {_mistake(each)}" for each in report["mistakes"]]
    if "loaded" in report:
        lines += [f"{'✓' if each['ok'] else '✗'} {each['ref']} {each['text']}" for each in report["loaded"]]
    else:
        lines += [f"✓ {each['ref']}" for each in report["models"] if each["ok"]]
    sys.stdout.write(printable("\n".join(lines)) + "\n")


def _mistake(said: Mapping[str, Any]) -> str:
    return ": ".join(part for part in (said["file"], said["key"], said["text"]) if part)


def _print_models(listed: Any) -> None:
    from gateway.client.cli.show import console, table  # noqa: PLC0415  only for a terminal

    shown = table("model", "queue", "inputs", "params", "outputs", "")
    for model in listed:
        params = (model.get("params") or {}).get("properties") or {}
        shown.add_row(
            f"{model['name']}@{model.get('version', '1')}",
            str(model.get("queue", "")),
            _names(model.get("inputs") or {}, "kind"),
            _names(params, "type"),
            _names(model.get("outputs") or {}, "kind"),
            printable(str(model.get("description", ""))),
        )
    console().print(shown, markup=False)


def _names(declared: Mapping[str, Any], detail: str) -> str:
    return ", ".join(f"{name}: {wanted.get(detail, '?')}" for name, wanted in declared.items())
