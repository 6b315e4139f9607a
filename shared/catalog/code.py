"""What can be said of a model's code by reading it: nothing of it runs, or is imported.

The engine says the same when it loads the model; here it is said before, all of it, and without its packages.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from shared.catalog.model import Mistake, Model, suggest

_OURS = "gpu_worker.handlers"
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def code_mistakes(model: Model) -> Iterator[Mistake]:
    """What is wrong with the handler that a model names."""
    module, _, name = model.handler.partition(":")
    source = _source_of(module, model.folder)
    toml = str(model.folder / "model.toml")
    if source is None and module.startswith(_OURS):
        yield Mistake(toml, f"there is no ready-made handler module {module!r}", "handler")
    elif source is None:
        python = model.interpreter or "the worker's Python"
        text = f"module {module!r} is not in this folder; it has to be installed for {python}"
        yield Mistake(toml, text, "handler", fatal=False)
    else:
        yield from _in_source(model, source, name)


def _source_of(module: str, folder: Path) -> Path | None:
    root = Path(__file__).parents[2] if module.startswith(_OURS) else folder
    stem = root.joinpath(*module.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _in_source(model: Model, source: Path, name: str) -> Iterator[Mistake]:
    try:
        tree = ast.parse(source.read_bytes(), str(source))
    except (SyntaxError, ValueError, OSError) as error:
        # Another interpreter may speak a newer Python than this one.
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        text = f"not readable as Python{line}: {getattr(error, 'msg', error)}"
        yield Mistake(str(source), text, fatal=model.interpreter is None)
        return
    names = dict(_top_level(tree.body))
    if name not in names and "*" not in names and "__getattr__" not in names:
        text = f"{source.name} has no {name!r}{suggest(name, names)}"
        yield Mistake(str(model.folder / "model.toml"), text, "handler")
    yield from _in_definition(model, source, names.get(name))


def _top_level(body: list[ast.stmt]) -> Iterator[tuple[str, Definition | None]]:
    """Names that a module has, and how they are defined where that can be seen."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, None if node.decorator_list else node
            case ast.Import() | ast.ImportFrom():
                yield from ((each.asname or each.name.partition(".")[0], None) for each in node.names)
            case ast.Assign() | ast.AnnAssign():
                yield from ((each.id, None) for each in ast.walk(node) if isinstance(each, ast.Name))
            case ast.If() | ast.Try() | ast.With():
                yield from _inside(node)


def _inside(node: ast.If | ast.Try | ast.With) -> Iterator[tuple[str, None]]:
    blocks = [node.body, getattr(node, "orelse", []), getattr(node, "finalbody", [])]
    blocks += [handler.body for handler in getattr(node, "handlers", [])]
    # Which of them counts is known when it runs.
    yield from ((name, None) for block in blocks for name, _ in _top_level(block))


def _in_definition(model: Model, source: Path, found: Definition | None) -> Iterator[Mistake]:
    where = f"{source}:{found.lineno}" if found else ""
    match found:
        case ast.ClassDef():
            methods = dict(_top_level(found.body))
            if "infer" not in methods and not found.bases:
                yield Mistake(where, f"class {found.name} has no method infer(items)")
            yield from _calls(source, methods)
            prepare = methods.get("prepare")
            if isinstance(prepare, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _signature(model, f"{source}:{prepare.lineno}", prepare, bound=True)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            if model.backend == "onnx":
                yield Mistake(where, 'backend "onnx" needs a class, whose load(model) gets model.session')
                return
            if model.batching.max_batch_size > 1:
                yield Mistake(where, "[batching] wants a class with infer(items), not a plain function")
            yield from _signature(model, where, found, bound=False)


_CALLED_WITH = {"__init__": 0, "load": 1, "warm_up": 0}
"""So many arguments beside `self`, before the first job."""


def _calls(source: Path, methods: dict[str, Definition | None]) -> Iterator[Mistake]:
    for name, given in _CALLED_WITH.items():
        method = methods.get(name)
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and not _takes(method, given):
            said = "model" if given else ""
            yield Mistake(f"{source}:{method.lineno}", f"{name}() cannot be called as {name}({said})")


def _takes(method: ast.FunctionDef | ast.AsyncFunctionDef, given: int) -> bool:
    said = method.args
    most = len(said.posonlyargs) + len(said.args)
    least = most - len(said.defaults)
    by_name = any(default is None for default in said.kw_defaults)
    return least <= given + 1 and (given + 1 <= most or said.vararg is not None) and not by_name


def _signature(
    model: Model, where: str, function: ast.FunctionDef | ast.AsyncFunctionDef, *, bound: bool
) -> Iterator[Mistake]:
    said = function.args
    by_order = [each.arg for each in (*said.posonlyargs, *said.args)][1 if bound else 0 :]
    by_name = [each.arg for each in said.kwonlyargs]
    declared = {*model.inputs, *model.params}
    if said.kwarg is None:
        for name in sorted(declared - {*by_order, *by_name}):
            yield Mistake(where, f"{function.name}() has no parameter {name!r}, which model.toml declares")
    free = by_order[: len(by_order) - len(said.defaults)]
    free += [name for name, default in zip(by_name, said.kw_defaults, strict=True) if default is None]
    for name in sorted({*free} - declared - {"job"}):
        yield Mistake(where, f"{function.name}() needs {name!r}, which model.toml does not declare")
