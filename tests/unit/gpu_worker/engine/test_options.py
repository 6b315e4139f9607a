from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpu_worker.engine.options import FORMATS, Options, PictureLimits, picture_limits
from gpu_worker.engine.spec import SpecError

FOLDER = Path("/models/m")


def read(options: Options) -> None:
    options.leave("cpu")
    options.integer("top", 5, minimum=1, maximum=10)
    options.number("threshold", 0.5, minimum=0, maximum=1)
    options.flag("bgr", default=False)
    options.text("mode", "a", ("a", "bee"))
    options.texts("names", ())
    options.numbers("mean", (0,), counts=(1, 3))
    options.table("inside").close()
    options.close()


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"top": 10, "threshold": 1, "bgr": True, "mode": "bee", "names": ["x"], "mean": [1, 2.5, 3]},
        {"cpu": {"anything": 1}, "inside": {}},
    ],
)
def test_what_fits_is_read(table: dict[str, Any]) -> None:
    read(Options(table, FOLDER))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"tpo": 3}, r"model.toml: options.tpo: no such option; did you mean 'top'\?"),
        ({"zzz": 3}, r"options.zzz: no such option; known here: bgr, cpu, inside, mean, mode"),
        ({"inside": {"x": 1}}, r"options.inside.x: no such option"),
        ({"inside": 3}, r"options.inside: must be a table"),
        ({"top": 0}, r"options.top: must be at least 1"),
        ({"top": 11}, r"options.top: must be at most 10"),
        ({"top": True}, r"options.top: must be a whole number"),
        ({"top": "3"}, r"options.top: must be a whole number"),
        ({"threshold": float("nan")}, r"options.threshold: must be a number"),
        ({"threshold": True}, r"options.threshold: must be a number"),
        ({"bgr": 1}, r"options.bgr: must be true or false"),
        ({"mode": "be"}, r"options.mode: must be one of a, bee; did you mean 'bee'\?"),
        ({"names": ["x", 1]}, r"options.names: must be a list of strings"),
        ({"names": "x"}, r"options.names: must be a list"),
        ({"mean": [1, 2]}, r"options.mean: must be a list of 1 or 3 numbers"),
        ({"mean": [True]}, r"options.mean: must be a list of 1 or 3 numbers"),
    ],
)
def test_what_does_not_is_named_with_its_remedy(table: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        read(Options(table, FOLDER))


def test_pictures_have_limits_by_default() -> None:
    assert picture_limits({}, FOLDER) == PictureLimits(FORMATS, 50_000_000)
    assert picture_limits({"formats": ["png"], "max_pixels": 9}, FOLDER) == PictureLimits(("PNG",), 9)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"formats": []}, "names no format"),
        ({"formats": ["JPG"]}, r"JPG is never read; did you mean 'JPEG'\?"),
        ({"formats": ["EPS"]}, r"EPS is never read"),
        ({"max_pixels": 0}, "must be at least 1"),
    ],
)
def test_a_picture_option_that_can_not_be_is_named(table: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        picture_limits(table, FOLDER)
