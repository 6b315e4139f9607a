from __future__ import annotations

import math

import pytest

from gpu_worker.engine.job import Job
from gpu_worker.engine.output import OutputTail


def test_only_the_end_is_kept() -> None:
    tail = OutputTail(limit=4)
    tail.write(b"abc")
    assert tail.text() == "abc"
    tail.write(b"def\0")
    assert tail.text() == "… 3 bytes before this were dropped …\ndef\ufffd"


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (b"", ""),
        (b"one\ntwo\n\n", "two"),
        (b"Fatal Python error: Segmentation fault\n\n  File x\n", "Fatal Python error: Segmentation fault"),
        (b"\xff" * 2000, "\ufffd" * 300),
    ],
)
def test_last_words_are_one_line(printed: bytes, said: str) -> None:
    tail = OutputTail()
    tail.write(printed)
    assert tail.last_words() == said


def test_progress_is_thinned_and_bounded() -> None:
    seen: list[float] = []
    job = Job("id", seen.append)
    for value in (-1, 0.1, 0.2, 2):
        job.progress(value)
    assert seen == [0.0, 1.0]
    with pytest.raises(ValueError, match="progress"):
        job.progress(math.nan)
