"""What samplers see of paused trials."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from tuneflow.storage import PAUSED_ATTRIBUTE, Journal, ViewStorage, open_storage


@pytest.fixture(params=["memory", "journal", "sqlite"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStorage]:
    if request.param == "memory":
        yield InMemoryStorage()
    elif request.param == "journal":
        with Journal(tmp_path / "study.log") as storage:
            yield storage
    else:
        storage = open_storage(f"sqlite:///{tmp_path}/study.db")
        yield storage
        assert isinstance(storage, RDBStorage)
        storage.scoped_session.remove()
        storage.engine.dispose()


def start(storage: BaseStorage, reports: list[float], paused: bool) -> int:
    trial_id = storage.create_new_trial(study_of(storage))
    for step, value in enumerate(reports):
        storage.set_trial_intermediate_value(trial_id, step, value)
    if paused:
        storage.set_trial_user_attr(trial_id, PAUSED_ATTRIBUTE, len(reports) - 1)
    return trial_id


def study_of(storage: BaseStorage) -> int:
    studies = storage.get_all_studies()
    return studies[0]._study_id if studies else storage.create_new_study([StudyDirection.MINIMIZE])


def test_a_paused_trial_is_shown_as_pruned_with_its_last_report(inner: BaseStorage) -> None:
    study_id = study_of(inner)
    start(inner, [0.9, 0.7], paused=True)
    start(inner, [0.8], paused=False)
    view = ViewStorage(inner)
    view.n_paused = 1
    paused, running = view.get_all_trials(study_id)
    assert paused.state is TrialState.PRUNED
    assert paused.value == 0.7
    assert paused.intermediate_values == {0: 0.9, 1: 0.7}
    assert paused.datetime_complete is not None
    paused._validate()
    assert running.state is TrialState.RUNNING
    assert running.value is None
    # The trial itself is untouched, and can go on.
    assert [t.state for t in inner.get_all_trials(study_id)] == [TrialState.RUNNING] * 2
    assert view.get_trial(paused._trial_id).state is TrialState.RUNNING
    view.set_trial_intermediate_value(paused._trial_id, 2, 0.6)
    assert view.get_all_trials(study_id)[0].value == 0.6
    view.set_trial_state_values(paused._trial_id, TrialState.COMPLETE, [0.5])
    done = view.get_all_trials(study_id)[0]
    assert (done.state, done.value) == (TrialState.COMPLETE, 0.5)
    assert view.get_best_trial(study_id).value == 0.5


STATES = [None, *[(s,) for s in TrialState], (TrialState.COMPLETE, TrialState.PRUNED), tuple(TrialState)]


@settings(max_examples=30, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(["waiting", "running", "paused", "complete", "pruned", "fail"]), max_size=8),
    deepcopy=st.booleans(),
    shared=st.booleans(),
)
def test_the_view_is_the_translation_of_everything_then_filtered(
    kinds: list[str], deepcopy: bool, shared: bool
) -> None:
    inner = InMemoryStorage()
    study_id = study_of(inner)
    for kind in kinds:
        if kind in ("complete", "pruned", "fail", "waiting"):
            state = TrialState[kind.upper()]
            values = [1.0] if state is TrialState.COMPLETE else None
            inner.create_new_trial(study_id, optuna.trial.create_trial(state=state, values=values))
        else:
            start(inner, [0.5], paused=kind == "paused")
    view = ViewStorage(inner)
    view.n_paused = 0 if shared else kinds.count("paused")
    view.shared = shared
    expected = [TrialState.PRUNED if kind == "paused" else TrialState[kind.upper()] for kind in kinds]
    for states in STATES:
        shown = view.get_all_trials(study_id, deepcopy=deepcopy, states=states)
        numbers = [number for number, state in enumerate(expected) if states is None or state in states]
        assert [t.number for t in shown] == numbers
        assert [t.state for t in shown] == [expected[number] for number in numbers]
        assert view.get_n_trials(study_id, states) == len(numbers)
    assert view.get_n_trials(study_id, TrialState.PRUNED) == expected.count(TrialState.PRUNED)


def test_a_copy_is_made_if_asked_for_and_a_trial_is_translated_once() -> None:
    inner = InMemoryStorage()
    study_id = study_of(inner)
    trial_id = start(inner, [0.5], paused=True)
    view = ViewStorage(inner)
    view.n_paused = 1
    (copied,) = view.get_all_trials(study_id)
    copied.user_attrs["mine"] = 1
    copied.intermediate_values[9] = 1.0
    (first,) = view.get_all_trials(study_id, deepcopy=False)
    (second,) = view.get_all_trials(study_id, deepcopy=False)
    assert first is second
    assert first.user_attrs == {PAUSED_ATTRIBUTE: 0}
    assert first.intermediate_values == {0: 0.5}
    inner.set_trial_intermediate_value(trial_id, 1, 0.25)
    (third,) = view.get_all_trials(study_id, deepcopy=False)
    assert third.value == 0.25
    assert first.value == 0.5


@pytest.mark.parametrize(("reports", "values"), [([], None), ([0.5, math.nan], None), ([math.inf], [math.inf])])
def test_a_value_that_optuna_would_refuse_is_left_out(reports: list[float], values: list[float] | None) -> None:
    inner = InMemoryStorage()
    study_id = study_of(inner)
    start(inner, reports, paused=True)
    view = ViewStorage(inner)
    view.n_paused = 1
    (shown,) = view.get_all_trials(study_id)
    assert shown.state is TrialState.PRUNED
    assert shown.values == values


@pytest.mark.parametrize("n_paused", [0, 1])
def test_a_report_is_no_value_of_several_objectives(n_paused: int) -> None:
    inner = InMemoryStorage()
    study_id = inner.create_new_study([StudyDirection.MINIMIZE] * 2)
    pruned = start(inner, [0.5], paused=False)
    inner.set_trial_state_values(pruned, TrialState.PRUNED)
    for _ in range(n_paused):
        start(inner, [0.5], paused=True)
    view = ViewStorage(inner)
    view.n_paused = n_paused
    for shown in view.get_all_trials(study_id):
        assert (shown.state, shown.values, shown.intermediate_values) == (TrialState.PRUNED, None, {})
        assert shown.datetime_complete is not None


def test_without_paused_trials_nothing_is_looked_at() -> None:
    asked: list[Any] = []

    class Inner(InMemoryStorage):
        def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> Any:
            asked.append((deepcopy, states))
            return "the very answer"

    view = ViewStorage(Inner())
    study_of(view)
    assert view.get_all_trials(0, False, None) == "the very answer"
    view.n_paused = 1
    assert view.get_all_trials(0, deepcopy=False, states=(TrialState.WAITING,)) == "the very answer"
    assert asked == [(False, None), (False, (TrialState.WAITING,))]
    assert view.get_trial.__self__ is view.inner  # type: ignore[attr-defined]


def test_translations_of_trials_that_have_ended_are_forgotten() -> None:
    inner = InMemoryStorage()
    study_id = study_of(inner)
    view = ViewStorage(inner)
    view.n_paused = 1
    for _ in range(300):
        trial_id = start(inner, [0.5], paused=True)
        view.get_all_trials(study_id, deepcopy=False)
        inner.set_trial_state_values(trial_id, TrialState.PRUNED, [0.5])
    assert len(view._shown) < 100


def test_a_view_can_be_pickled(tmp_path: Path) -> None:
    with Journal(tmp_path / "study.log") as inner:
        study_id = study_of(inner)
        start(inner, [0.5], paused=True)
        view = ViewStorage(inner)
        view.shared = True
        copied = pickle.loads(pickle.dumps(view))
        assert copied.shared
        assert copied.get_all_trials(study_id) == view.get_all_trials(study_id)
        assert copied.get_trial.__self__ is copied.inner
        copied.inner.close()


class RecordingTPE(optuna.samplers.TPESampler):
    """Keeps what TPE is given as good and bad trials."""

    seen: list[list[TrialState]]

    def _sample(self, study: Any, trial: Any, search_space: Any, *args: Any, **kwargs: Any) -> Any:
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        self.seen.append([t.state for t in study._get_trials(deepcopy=False, states=states, use_cache=False)])
        return super()._sample(study, trial, search_space, *args, **kwargs)


def test_tpe_learns_from_paused_trials(inner: BaseStorage) -> None:
    view = ViewStorage(inner)
    sampler = RecordingTPE(n_startup_trials=4, seed=0)
    sampler.seen = []
    study = optuna.create_study(storage=view, sampler=sampler)
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for _ in range(8):
        trial = study.ask(space)
        trial.report(abs(trial.params["x"] - 0.3), 1)
        trial.set_user_attr(PAUSED_ATTRIBUTE, 1)
        view.n_paused += 1
    assert [len(states) for states in sampler.seen] == [4, 5, 6, 7]
    assert all(state is TrialState.PRUNED for states in sampler.seen for state in states)


def test_tpe_takes_paused_trials_of_several_objectives() -> None:
    view = ViewStorage(InMemoryStorage())
    view.shared = True
    study = optuna.create_study(
        storage=view, directions=["minimize"] * 2, sampler=optuna.samplers.TPESampler(n_startup_trials=2, seed=0)
    )
    for number in range(9):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        if number % 3 == 0:
            study.tell(trial, (0.5, 0.5))
            continue
        view.set_trial_intermediate_value(trial._trial_id, 1, 0.5)
        if number % 3 == 1:
            trial.set_user_attr(PAUSED_ATTRIBUTE, 1)
        else:
            view.set_trial_state_values(trial._trial_id, TrialState.PRUNED)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "PRUNED"] * 3
