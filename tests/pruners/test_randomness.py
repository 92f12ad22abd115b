from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from tuneflow.pruners.randomness import DecisionStreams

NAMES = st.integers(0, 2**40)


@given(st.integers(0, 2**63), NAMES, NAMES, NAMES, NAMES)
def test_a_stream_does_not_depend_on_what_was_drawn_before(
    seed: int, trial: int, step: int, other: int, at: int
) -> None:
    streams = DecisionStreams(seed)
    first = streams(trial, step).random(5).tolist()
    streams(other, at).normal(size=3)
    streams(trial, step).integers(10, dtype="uint32")  # leaves half a word behind
    assert streams(trial, step).random(5).tolist() == first
    assert DecisionStreams(seed)(trial, step).random(5).tolist() == first


@given(st.integers(0, 2**63), NAMES, NAMES)
def test_streams_differ(seed: int, trial: int, step: int) -> None:
    streams = DecisionStreams(seed)
    own = streams(trial, step).random()
    assert streams(trial + 1, step).random() != own
    assert streams(trial, step + 1).random() != own
    assert DecisionStreams(seed + 1)(trial, step).random() != own


def test_streams_can_be_copied() -> None:
    streams = DecisionStreams(5)
    assert copy.deepcopy(streams)(1, 2).random() == streams(1, 2).random()
