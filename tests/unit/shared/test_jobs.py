"""The state machine of shared.jobs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jobs import TRANSITIONS, IllegalTransition, State, check_transition


@given(old=st.sampled_from(State), new=st.sampled_from(State))
def test_a_transition_is_legal_exactly_when_the_table_has_it(old: State, new: State) -> None:
    if new in TRANSITIONS[old]:
        check_transition(old, new)
    else:
        with pytest.raises(IllegalTransition, match=f"from {old} to {new}"):
            check_transition(old, new)


@given(path=st.lists(st.sampled_from(State), min_size=1, max_size=30))
def test_a_terminal_state_is_never_left(path: list[State]) -> None:
    state = State.QUEUED
    for wish in path:
        ended = state.terminal
        if wish in TRANSITIONS[state]:
            assert not ended
            state = wish


def test_every_state_can_reach_an_end() -> None:
    ends = {state for state in State if state.terminal}
    reaching = set(ends)
    for _ in State:
        reaching |= {state for state in State if TRANSITIONS[state] & reaching}
    assert reaching == set(State)
