"""Marks in what an engine prints: who said what, however the pipe cuts it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.engine.printing import NOBODY, marked, split

SAID = st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=30)), max_size=12)
CUTS = st.lists(st.integers(0, 400), max_size=8)


def heard(data: bytes, cuts: list[int]) -> dict[int, bytes]:
    """What each speaker said, read in pieces."""
    found: dict[int, bytes] = {}
    speaker, rest = NOBODY, b""
    for start, end in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        said, speaker, rest = split(rest + data[start:end], speaker)
        for number, text in said:
            found[number] = found.get(number, b"") + text
    return {number: text for number, text in found.items() if text}


@given(SAID, CUTS)
def test_each_speaker_is_heard_whole_however_the_pipe_cuts(
    said: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    data, wanted = b"", dict[int, bytes]()
    for number, text in said:
        clean = text.replace(b"\x1e", b"?")
        data += marked(number, text) if number else clean
        wanted[number] = wanted.get(number, b"") + clean
    assert heard(data, cuts) == {number: text for number, text in wanted.items() if text}


def test_nobody_can_speak_for_another_by_printing_a_mark() -> None:
    assert heard(marked(1, b"\x1e2\x1fhello"), []) == {1: b"?2\x1fhello"}
