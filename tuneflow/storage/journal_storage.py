"""Optuna's ``JournalStorage`` over our backend, with what a tuning loop asks for at every trial made cheap."""

from __future__ import annotations

import copy
import math
import os
import threading
import uuid
import weakref
from collections.abc import Callable, Container, Iterable
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility, json_to_distribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal._storage import NOT_FOUND_MSG, JournalStorageReplayResult
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tuneflow.errors import JournalCorrupt
from tuneflow.storage.journal import JournalBackend

__all__ = ["Journal"]

_opened: weakref.WeakSet[Journal] = weakref.WeakSet()


class Journal(JournalStorage):
    """A journal file as an Optuna storage; several studies and several processes may share it.

    Beside Optuna's ``JournalStorage``: ``get_all_trials`` of waiting or running trials costs their number and not that
    of all trials, counting and the best trial cost nothing, a new parameter is not compared with every earlier trial,
    and equal distributions are one object.

    Args:
        path: the file; made if it is missing, its folder is not.
        sync_interval_s: seconds, >= 0, within which a record is on the disk; 0 syncs each record.

    Raises:
        JournalCorrupt: a line before the last one cannot be read; names the line.

    Example:
        >>> import optuna, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with Journal(folder.name + "/study.log") as storage:
        ...     study = optuna.create_study(study_name="s", storage=storage)
        ...     study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
        >>> with Journal(folder.name + "/study.log") as storage:
        ...     storage.get_n_trials(storage.get_study_id_from_name("s"))
        3
        >>> folder.cleanup()
    """

    _backend: JournalBackend
    _replay_result: _Replay

    def __init__(self, path: str | os.PathLike[str], *, sync_interval_s: float = 0.05) -> None:
        super().__init__(_NoRecords())
        self._backend = JournalBackend(path, sync_interval_s=sync_interval_s)
        self._start()
        try:
            with self._thread_lock:
                self._sync_with_backend()
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """The journal file, absolute."""
        return self._backend.path

    def flush(self) -> None:
        """Returns when everything recorded so far is on the disk."""
        self._backend.flush()

    def close(self) -> None:
        """Brings everything onto the disk and closes the file. May be called twice; any other call raises then."""
        self._backend.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        with self._thread_lock:
            self._sync_with_backend()
            trials = self._replay_result.index(study_id).select(states)
            return copy.deepcopy(trials) if deepcopy else trials

    def get_n_trials(self, study_id: int, state: tuple[TrialState, ...] | TrialState | None = None) -> int:
        with self._thread_lock:
            self._sync_with_backend()
            index = self._replay_result.index(study_id)
            if state is None:
                return len(index.trials)
            states = {state} if isinstance(state, TrialState) else set(state)
            return sum(index.n_in[one] for one in states)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        with self._thread_lock:
            self._sync_with_backend()
            index = self._replay_result.index(study_id)
            if index.best is None:
                raise ValueError("No trials are completed yet.")
            if len(self._replay_result.get_study(study_id).directions) > 1:
                raise RuntimeError("Best trial can be obtained only for single-objective optimization.")
            return index.best

    def take_changes(self, study_id: int) -> list[FrozenTrial]:
        """The trials that others (processes, or objects of this one) have made or changed since the last call.

        By number; none at the first call, from which on they are counted. Costs nothing where nothing was changed.
        """
        with self._thread_lock:
            self._sync_with_backend()
            index = self._replay_result.index(study_id)
            changed = index.changed
            if changed is None:
                index.changed = set()
                return []
            if not changed:
                return []
            index.changed = set()
            return [index.trials[number] for number in sorted(changed)]

    def _sync_with_backend(self) -> None:
        replay = self._replay_result
        for record in self._backend.read_logs(replay.log_number_read):
            replay.apply(record, self._backend.path)

    def _start(self) -> None:
        """Begins with nothing known, under a name of its own. Optuna tells by that name whose records are whose."""
        self._worker_id_prefix = f"{uuid.uuid4()}-"
        self._replay_result = _Replay(self._worker_id_prefix)
        _opened.add(self)

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self._start()

    def _forget_fork(self) -> None:
        # Parent and child would take each other's records for their own: threads keep their ids over a fork.
        self._thread_lock = threading.Lock()
        self._worker_id_prefix = self._replay_result.rename(f"{uuid.uuid4()}-")


class _NoRecords(BaseJournalBackend):
    """What ``JournalStorage.__init__`` reads from before ours is in place."""

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return ()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise NotImplementedError


class _StudyIndex:
    """The trials of one study, findable by state."""

    __slots__ = ("best", "changed", "distributions", "is_maximized", "n_in", "open", "trials")

    def __init__(self, is_maximized: bool) -> None:
        self.changed: set[int] | None = None  # by others, since somebody asked; None while nobody has
        self.trials: list[FrozenTrial] = []  # by number
        self.n_in = dict.fromkeys(TrialState, 0)
        self.open: dict[TrialState, set[int]] = {TrialState.WAITING: set(), TrialState.RUNNING: set()}
        self.best: FrozenTrial | None = None
        self.is_maximized = is_maximized
        self.distributions: dict[str, BaseDistribution] = {}

    def add(self, trial: FrozenTrial) -> None:
        self.trials.append(trial)
        for name, distribution in trial.distributions.items():
            self.distributions.setdefault(name, distribution)
        self._enter(trial)

    def replace(self, old: FrozenTrial, new: FrozenTrial) -> None:
        self.trials[new._number] = new
        if new.state is not old.state:
            self.n_in[old.state] -= 1
            if old.state in self.open:
                self.open[old.state].discard(new._number)
            self._enter(new)

    def _enter(self, trial: FrozenTrial) -> None:
        state = trial.state
        self.n_in[state] += 1
        if state in self.open:
            self.open[state].add(trial._number)
        elif state is TrialState.COMPLETE and (self.best is None or self._rank(trial) < self._rank(self.best)):
            self.best = trial

    def _rank(self, trial: FrozenTrial) -> tuple[float, int]:
        values = trial._values
        if not values or math.isnan(values[0]):
            return math.inf, trial._number
        return -values[0] if self.is_maximized else values[0], trial._number

    def select(self, states: Container[TrialState] | None) -> list[FrozenTrial]:
        """A new list of the trials in these states, by number."""
        if states is None:
            return self.trials.copy()
        if not any(state in states for state in _FINISHED):
            numbers = [number for state in self.open if state in states for number in self.open[state]]
            return [self.trials[number] for number in sorted(numbers)]
        return [trial for trial in self.trials if trial.state in states]


_FINISHED = tuple(state for state in TrialState if state.is_finished())


class _Trials(dict[int, FrozenTrial]):
    """All trials by id. Optuna's replay puts a changed trial here as a new object: the one place to keep an index."""

    def __init__(self) -> None:
        super().__init__()
        self.indexes: list[_StudyIndex] = []  # by trial id
        self.is_foreign = False  # whether the record that is being applied was written by somebody else

    def __setitem__(self, trial_id: int, trial: FrozenTrial) -> None:
        old = self.get(trial_id)
        super().__setitem__(trial_id, trial)
        if old is not None:
            index = self.indexes[trial_id]
            index.replace(old, trial)
            if self.is_foreign and index.changed is not None:
                index.changed.add(trial._number)

    def enter(self, trial_id: int, index: _StudyIndex) -> None:
        self.indexes.append(index)
        index.add(self[trial_id])
        if self.is_foreign and index.changed is not None:
            index.changed.add(self[trial_id]._number)


class _Replay(JournalStorageReplayResult):
    """Optuna's fold over the records, with an index by study and state."""

    _trials: _Trials

    def __init__(self, worker_id_prefix: str) -> None:
        super().__init__(worker_id_prefix)
        self._trials = _Trials()
        self._indexes: dict[int, _StudyIndex] = {}

    def index(self, study_id: int) -> _StudyIndex:
        if study_id not in self._studies:
            raise KeyError(NOT_FOUND_MSG)
        return self._indexes[study_id]

    def rename(self, worker_id_prefix: str) -> str:
        self._worker_id_prefix = worker_id_prefix
        self._worker_id_to_owned_trial_id.clear()
        return worker_id_prefix

    def apply(self, record: dict[str, Any], path: str) -> None:
        self.log_number_read += 1
        self._trials.is_foreign = not record["worker_id"].startswith(self._worker_id_prefix)
        try:
            _APPLY[record["op_code"]](self, record)
        except Exception as error:
            # Optuna raises for what this very caller did wrong, and passes over the mistakes of others.
            if self._is_issued_by_this_worker(record):
                raise
            self.log_number_read -= 1
            raise JournalCorrupt(path, self.log_number_read + 1, f"its content is not possible ({error!r})") from error

    def _apply_create_study(self, log: dict[str, Any]) -> None:
        study_id = self._next_study_id
        super()._apply_create_study(log)
        if self._next_study_id > study_id:
            self._indexes[study_id] = _StudyIndex(
                self._studies[study_id].directions == [StudyDirection.MAXIMIZE],
            )

    def _apply_create_trial(self, log: dict[str, Any]) -> None:
        trial_id = len(self._trials)
        super()._apply_create_trial(log)
        if len(self._trials) > trial_id:
            self._trials.enter(trial_id, self._indexes[log["study_id"]])

    def _apply_set_trial_param(self, log: dict[str, Any]) -> None:
        trial_id = log["trial_id"]
        if not self._trial_exists_and_updatable(trial_id, log):
            return
        name, distribution = log["param_name"], _distribution(log["distribution"])
        known = self._trials.indexes[trial_id].distributions
        if name not in known:
            known[name] = distribution
        elif known[name] is not distribution:
            try:
                check_distribution_compatibility(known[name], distribution)
            except ValueError:
                if self._is_issued_by_this_worker(log):
                    raise
                return
        trial = _copy_trial(self._trials[trial_id])
        value = distribution.to_external_repr(log["param_value_internal"])
        trial._params = {**trial._params, name: value}
        trial._distributions = {**trial._distributions, name: distribution}
        self._trials[trial_id] = trial

    def _apply_set_trial_intermediate_value(self, log: dict[str, Any]) -> None:
        trial_id = log["trial_id"]
        if self._trial_exists_and_updatable(trial_id, log):
            trial = _copy_trial(self._trials[trial_id])
            trial.intermediate_values = {**trial.intermediate_values, log["step"]: log["intermediate_value"]}
            self._trials[trial_id] = trial

    def _skip(self, log: dict[str, Any]) -> None:
        """For what only Rustuna writes."""


_APPLY: tuple[Callable[[_Replay, dict[str, Any]], None], ...] = (
    _Replay._apply_create_study,
    _Replay._apply_delete_study,
    _Replay._apply_set_study_user_attr,
    _Replay._apply_set_study_system_attr,
    _Replay._apply_create_trial,
    _Replay._apply_set_trial_param,
    _Replay._apply_set_trial_state_values,
    _Replay._apply_set_trial_intermediate_value,
    _Replay._apply_set_trial_user_attr,
    _Replay._apply_set_trial_system_attr,
    _Replay._skip,
)


@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _copy_trial(trial: FrozenTrial) -> FrozenTrial:
    # A fifth of the time of copy.copy, in the operation that is done most.
    new = FrozenTrial.__new__(FrozenTrial)
    new.__dict__.update(trial.__dict__)
    return new


def _after_fork() -> None:
    for storage in list(_opened):
        storage._forget_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
