"""What is on offer while the catalog changes under a living process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.catalog import Catalog, CatalogError, Model, load_model, reading, write_index
from shared.catalog.reading import FolderSource, Reading
from shared.catalog.shelf import PROBLEMS, Shelf
from shared.errors import StoreError

pytestmark = pytest.mark.anyio

TOML = """
name = "{name}"
version = "{version}"
queue = "{queue}"
backend = "python"
handler = "code:run"
[inputs.image]
kind = "image"
[outputs.image]
kind = "image"
"""


def make(root: Path, folder: str, version: str = "1", *, queue: str = "default") -> Path:
    place = root / folder
    place.mkdir(exist_ok=True)
    text = TOML.format(name=folder.partition("@")[0], version=version, queue=queue)
    (place / "model.toml").write_text(text)
    (place / "code.py").touch()
    return place


class Room:
    """A shelf, and what was adopted."""

    def __init__(self, root: Path, *, lag: bool = False) -> None:
        self.adopted: list[list[str]] = []
        self.shelf = Shelf(FolderSource(str(root)), refresh_s=30, adopt=self.adopt, lag=lag)

    async def adopt(self, catalog: Catalog) -> None:
        assert self.shelf.models != catalog.models  # told before it is offered
        self.adopted.append(sorted(model.ref for model in catalog.models))

    async def look(self) -> list[str]:
        await self.shelf.look()
        return sorted(model.ref for model in self.shelf.models)


@pytest.fixture
async def room(tmp_path: Path) -> Room:
    make(tmp_path, "fit")
    opened = Room(tmp_path)
    await opened.shelf.open()
    return opened


def problems() -> float:
    return float(PROBLEMS._value.get())


async def test_a_catalog_that_stays_is_adopted_once(room: Room) -> None:
    assert await room.look() == ["fit@1"]
    assert room.adopted == [["fit@1"]]


async def test_a_new_version_is_offered_beside_the_old_one(room: Room, tmp_path: Path) -> None:
    make(tmp_path, "fit@2", "2")

    assert await room.look() == ["fit@1", "fit@2"]

    newest = room.shelf.find("fit")
    assert newest is not None
    assert newest.version == "2"
    assert room.shelf.find("fit@1") is not None


async def test_who_hands_out_work_waits_one_look_for_a_new_version(tmp_path: Path) -> None:
    make(tmp_path, "fit")
    room = Room(tmp_path, lag=True)
    await room.shelf.open()
    make(tmp_path, "fit@2", "2")
    make(tmp_path, "other")

    assert await room.look() == ["fit@1", "other@1"]  # a name that nobody knew needs no patience
    assert await room.look() == ["fit@1", "fit@2", "other@1"]


async def test_a_version_in_place_of_the_only_one_does_not_wait(tmp_path: Path) -> None:
    make(tmp_path, "fit")
    room = Room(tmp_path, lag=True)
    await room.shelf.open()
    make(tmp_path, "fit", "2")

    assert await room.look() == ["fit@2"]


async def test_a_version_that_is_gone_is_not_offered(room: Room, tmp_path: Path) -> None:
    make(tmp_path, "fit@2", "2")
    await room.look()
    (tmp_path / "fit" / "model.toml").unlink()

    assert await room.look() == ["fit@2"]


async def test_a_wrong_catalog_changes_nothing_until_it_is_mended(room: Room, tmp_path: Path) -> None:
    toml = make(tmp_path, "fit@2", "2") / "model.toml"
    toml.write_text("name = ")

    assert await room.look() == ["fit@1"]
    assert problems() == 1

    make(tmp_path, "fit@2", "2")
    assert await room.look() == ["fit@1", "fit@2"]
    assert problems() == 0


async def test_an_empty_catalog_looks_like_a_disk_that_is_away(room: Room, tmp_path: Path) -> None:
    (tmp_path / "fit").rename(tmp_path.parent / f"{tmp_path.name}-away")
    for _ in range(2):
        assert await room.look() == ["fit@1"]
        assert problems() == 1

    (tmp_path.parent / f"{tmp_path.name}-away").rename(tmp_path / "fit")
    assert await room.look() == ["fit@1"]
    assert problems() == 0


async def test_a_catalog_that_is_wrong_at_the_start_is_an_error(tmp_path: Path) -> None:
    (make(tmp_path, "fit") / "model.toml").write_text("name = ")
    with pytest.raises(CatalogError):
        await Room(tmp_path).shelf.open()


async def test_a_version_that_says_something_else_now_stays_as_it_was(room: Room, tmp_path: Path) -> None:
    make(tmp_path, "fit", queue="images")

    assert await room.look() == ["fit@1"]

    kept = room.shelf.find("fit")
    assert kept is not None
    assert kept.queue == "default"
    assert problems() == 1


async def test_changed_code_under_the_same_version_is_told(room: Room, tmp_path: Path) -> None:
    (tmp_path / "fit" / "code.py").write_text("changed = True")
    await room.look()
    assert problems() == 1


async def test_bytecode_is_no_change(room: Room, tmp_path: Path) -> None:
    (tmp_path / "fit" / "__pycache__").mkdir()
    (tmp_path / "fit" / "__pycache__" / "code.pyc").touch()
    await room.look()
    assert problems() == 0
    assert len(room.adopted) == 1


async def test_a_version_that_comes_back_changed_is_still_the_first_one(room: Room, tmp_path: Path) -> None:
    make(tmp_path, "other")
    (tmp_path / "fit" / "model.toml").rename(tmp_path / "aside")
    assert await room.look() == ["other@1"]
    make(tmp_path, "fit", queue="images")

    await room.look()

    kept = room.shelf.find("fit")
    assert kept is not None
    assert kept.queue == "default"


async def test_a_version_may_move_to_another_folder(room: Room, tmp_path: Path) -> None:
    # Given the old version in a folder of its own, and the next one where it was
    (tmp_path / "fit").rename(tmp_path / "fit@1")
    make(tmp_path, "fit", "2")

    assert await room.look() == ["fit@1", "fit@2"]

    old = room.shelf.find("fit@1")
    assert old is not None
    assert old.folder == tmp_path / "fit@1"
    assert problems() == 0


async def test_a_pinned_model_waits_for_its_pin(tmp_path: Path) -> None:
    # Given a pinned catalog in which somebody edits a version into the next one
    make(tmp_path, "fit")
    write_index(tmp_path)
    room = Room(tmp_path)
    await room.shelf.open()
    make(tmp_path, "fit", "2")
    assert await room.look() == []
    assert problems() == 1
    # When it is pinned
    write_index(tmp_path)
    # Then it is offered with the digests of now
    assert await room.look() == ["fit@2"]
    model = room.shelf.find("fit")
    assert model is not None
    model.verify()


async def test_a_pinned_model_that_is_pinned_anew_stays_as_it_was(tmp_path: Path) -> None:
    make(tmp_path, "fit")
    write_index(tmp_path)
    room = Room(tmp_path)
    await room.shelf.open()
    first = room.shelf.find("fit")
    (tmp_path / "fit" / "code.py").write_text("changed = True")
    write_index(tmp_path)

    assert await room.look() == ["fit@1"]

    assert room.shelf.find("fit") == first
    assert problems() == 1


async def test_a_file_that_goes_away_while_it_is_read_changes_nothing(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: Path) -> Catalog:
        raise FileNotFoundError(2, "No such file", str(path))

    make(tmp_path, "fit@2", "2")
    with monkeypatch.context() as patched:
        patched.setattr(reading, "load_catalog", gone)
        assert await room.look() == ["fit@1"]
        assert problems() == 1
    assert await room.look() == ["fit@1", "fit@2"]


async def test_touching_files_is_no_new_catalog(room: Room, tmp_path: Path) -> None:
    os.utime(tmp_path / "fit" / "model.toml")
    assert await room.look() == ["fit@1"]
    assert len(room.adopted) == 1


class Told:
    """A source that says what it is told to."""

    def __init__(self, *answers: Reading | Exception | None) -> None:
        self._answers = list(answers)

    async def read(self) -> Reading | None:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_model_that_cannot_be_brought_here_stays_as_it_is_known(tmp_path: Path) -> None:
    one, two = (load_model(make(tmp_path, name)) for name in ("one", "two"))
    fresh = load_model(make(tmp_path, "three"))
    source = Told(
        Reading(Catalog((one, two))), Reading(Catalog((one, fresh)), {"two@1": "cut", "four@1": "x"})
    )
    shelf = Shelf(source, refresh_s=30, adopt=_nothing)
    await shelf.open()

    await shelf.look()

    assert {model.ref for model in shelf.models} == {"one@1", "two@1", "three@1"}
    assert problems() == 2


async def test_a_store_that_is_away_changes_nothing(tmp_path: Path) -> None:
    model = load_model(make(tmp_path, "one"))
    shelf = Shelf(Told(Reading(Catalog((model,))), StoreError("away"), None), refresh_s=30, adopt=_nothing)
    await shelf.open()

    await shelf.look()
    assert shelf.models == (model,)
    assert problems() == 1

    await shelf.look()
    assert problems() == 0


async def test_nobody_looks_again_where_that_is_not_wanted() -> None:
    await Shelf(Told(), refresh_s=0, adopt=_nothing).run()


async def _nothing(_: Catalog) -> None:
    pass


def test_a_model_without_its_files_is_read_from_the_index(tmp_path: Path) -> None:
    folder = make(tmp_path, "net")
    toml = (folder / "model.toml").read_text().replace('"python"', '"onnx"\nfile = "net.onnx"')
    (folder / "model.toml").write_text(toml)

    model = load_model(folder, {"net.onnx": "0" * 64}, whole=False)

    assert isinstance(model, Model)
    with pytest.raises(CatalogError, match=r"no 'net\.onnx' in the catalog's index"):
        load_model(folder, {}, whole=False)
