"""The in-memory storage: Optuna's contract, and that what was handed out never changes."""

from __future__ import annotations

import copy
import pickle

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState

from tuneflow.storage import ViewStorage
from tuneflow.storage.memory import Memory


class TestMemory(StorageTestCase):
    @pytest.fixture
    def storage(self) -> BaseStorage:
        return Memory()


class TestMemoryUnderTheView(StorageTestCase):
    @pytest.fixture
    def storage(self) -> BaseStorage:
        return ViewStorage(Memory())


WRITES = st.one_of(
    st.tuples(st.just("new"), st.none()),
    st.tuples(st.just("param"), st.sampled_from("ab")),
    st.tuples(st.just("report"), st.integers(0, 5)),
    st.tuples(st.just("user"), st.integers(0, 9)),
    st.tuples(st.just("system"), st.integers(0, 9)),
    st.tuples(st.just("end"), st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])),
    st.tuples(st.just("one"), st.none()),
    st.tuples(st.just("all"), st.sampled_from([None, (TrialState.RUNNING,), (TrialState.COMPLETE,)])),
    st.tuples(st.just("waiting"), st.none()),
)


def apply(storage, study, name, trial, argument):
    """One call on a storage; returns what it handed out, or the kind of error."""
    try:
        if name == "new":
            storage.create_new_trial(study)
        elif name == "param":
            storage.set_trial_param(trial, argument, 0.25, FloatDistribution(0.0, 1.0))
        elif name == "report":
            storage.set_trial_intermediate_value(trial, argument, 0.5)
        elif name == "user":
            storage.set_trial_user_attr(trial, "key", argument)
        elif name == "system":
            storage.set_trial_system_attr(trial, "key", argument)
        elif name == "end":
            values = [0.5] if argument is TrialState.COMPLETE else None
            storage.set_trial_state_values(trial, argument, values)
        elif name == "one":
            return [storage.get_trial(trial)]
        elif name == "all":
            return storage.get_all_trials(study, deepcopy=False, states=argument)
        else:
            return storage.get_all_trials(study, deepcopy=False, states=(TrialState.WAITING,))
    except (KeyError, UpdateFinishedTrialError) as error:
        return type(error)
    return None


def timeless(trials):
    fields = [dict(vars(trial)) for trial in trials]
    for field in fields:
        del field["_datetime_start"], field["datetime_complete"]
    return fields


@given(st.lists(st.tuples(st.integers(0, 3), WRITES), max_size=40))
def test_it_behaves_like_optunas_own_and_never_changes_what_it_handed_out(steps):
    ours, theirs = Memory(), InMemoryStorage()
    studies = [storage.create_new_study([StudyDirection.MINIMIZE]) for storage in (ours, theirs)]
    handed_out = []
    for trial, (name, argument) in [(0, ("new", None)), *steps]:
        got, expected = (
            apply(storage, study, name, trial, argument) for storage, study in zip((ours, theirs), studies, strict=True)
        )
        if isinstance(got, list):
            assert timeless(got) == timeless(expected)
            handed_out += [(each, copy.deepcopy(each)) for each in got]
        else:
            assert got == expected
    assert timeless(ours.get_all_trials(studies[0])) == timeless(theirs.get_all_trials(studies[1]))
    assert all(vars(each) == vars(then) for each, then in handed_out)


def test_a_report_copies_nothing_unless_somebody_looked():
    storage = Memory()
    study = storage.create_new_study([StudyDirection.MINIMIZE])
    trial = storage.create_new_trial(study)
    stored = storage._get_trial(trial)
    for step in range(5):
        storage.set_trial_intermediate_value(trial, step, 0.5)
        storage.get_all_trials(study, deepcopy=False, states=(TrialState.WAITING,))  # as every ask does
        storage.get_all_trials(study)  # copies of its own
    assert storage._get_trial(trial) is stored
    storage.get_trial(trial)
    storage.set_trial_intermediate_value(trial, 5, 0.5)
    assert storage._get_trial(trial) is not stored


def test_it_can_be_pickled_and_goes_on():
    storage = Memory()
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    trial.report(0.5, 1)
    restored = pickle.loads(pickle.dumps(storage))
    restored.set_trial_intermediate_value(trial._trial_id, 2, 0.25)
    assert restored.get_trial(trial._trial_id).intermediate_values == {1: 0.5, 2: 0.25}
    assert study.trials[0].intermediate_values == {1: 0.5}
