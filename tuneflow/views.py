"""What can be read from a study. Everything comes from the real ``optuna.Study``."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from tuneflow.errors import InvalidArgument, UsageError
from tuneflow.plain import plain
from tuneflow.space import choice
from tuneflow.space.turns import Known, Turns
from tuneflow.verdicts import DECISION

if TYPE_CHECKING:
    import optuna
    from optuna.study import StudyDirection
    from optuna.trial import FrozenTrial

    from tuneflow.space import Domain, Space

__all__ = ["GIVEN", "RETRY_OF", "StudyViews", "stored_exploits"]

GIVEN = "tuneflow:given"
"""The user attribute of natural values that a user gave and that Optuna's parameters cannot carry."""

RETRY_OF = "tuneflow:retry_of"
"""The user attribute of a trial that tries a failed one's configuration again: the failed one's number."""

_UID = "tuneflow:uid"
_NOTHING = object()


class StudyViews:
    """The read-only side of a study.

    Attributes:
        optuna: the real ``optuna.Study``, for dashboards, plots, importances and anything else of Optuna's.
        space: the declared space, None for a study that is defined by run.
    """

    def __init__(self, inner: optuna.Study, space: Space | None) -> None:
        self.optuna = inner
        self.space = space
        self._storage = inner._storage
        self._uid = ""
        self._grids: dict[str, Domain] = (
            {} if space is None else {name: choice(values) for name, values in space.grids.items()}
        )

    def __getstate__(self) -> Any:
        raise UsageError(
            "a Study cannot be pickled or copied: it holds its storage, its pruner and what is under way. To keep it, "
            "create it with storage= and open it again with load_study; optuna.copy_study copies what is stored"
        )

    def turns(self) -> Turns:
        """The cells of the space's grids, for trials to come."""
        cells = [] if self.space is None else self.space.grid_cells()
        return Turns(
            cells, [{name: self._grids[name].to_param(value) for name, value in cell.items()} for cell in cells]
        )

    def next_cell(self) -> dict[str, Any]:
        """The cell of the next trial in a loop of one's own: O(n) in the trials known."""
        turns, known = self.turns(), self.known()
        index = sum(not trial.is_waiting and not trial.is_retry for trial in known)
        turns.begin(index, known)
        return turns.next(index)

    def known(self) -> list[Known]:
        """The trials that are there, as ``Turns`` wants to know them."""
        found = []
        for trial in self.optuna.get_trials(deepcopy=False):
            params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            in_grids = {name: params[name] for name in self._grids if name in params}
            found.append(Known(trial.number, in_grids, trial.state.name == "WAITING", RETRY_OF in trial.user_attrs))
        return found

    @property
    def study_name(self) -> str:
        """The study's name in its storage."""
        return self.optuna.study_name

    @property
    def uid(self) -> str:
        """A name that no other study has, 12 hexadecimal digits: made up when first asked for, and stored."""
        if not self._uid:
            self._uid = str(self.optuna.user_attrs.get(_UID) or secrets.token_hex(6))
            if _UID not in self.optuna.user_attrs:
                self.optuna.set_user_attr(_UID, self._uid)
        return self._uid

    @property
    def n_new(self) -> int:
        """How many trials were ever started."""
        trials = self._storage.get_all_trials(self.optuna._study_id, deepcopy=False)
        return sum(1 for trial in trials if trial.state is not TrialState.WAITING)

    @property
    def direction(self) -> StudyDirection:
        """The direction of a study with one objective."""
        return self.optuna.direction

    @property
    def directions(self) -> list[StudyDirection]:
        """The direction of each objective."""
        return self.optuna.directions

    @property
    def sampler(self) -> optuna.samplers.BaseSampler:
        """What proposes parameters."""
        return self.optuna.sampler

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials in order of number, as Optuna stores them."""
        return self.optuna.trials

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """The trials in the given states; all without ``states``."""
        return self.optuna.get_trials(deepcopy=deepcopy, states=states)

    @property
    def best_trial(self) -> FrozenTrial:
        """The completed trial with the best value.

        Raises:
            ValueError: no trial is complete yet.
            RuntimeError: the study has several objectives; see ``best_trials``.
        """
        try:
            return self.optuna.best_trial
        except ValueError as error:
            raise self._no_best(error) from None

    def _no_best(self, error: ValueError) -> ValueError:
        """The same in every storage's study without a completed trial: some speak of records."""
        counts = Counter(trial.state.name for trial in self.optuna.get_trials(deepcopy=False))
        if counts["COMPLETE"]:
            return error
        there = ", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "none at all"
        return ValueError(f"No trials are completed yet (there are {there}); tell one its value first")

    @property
    def best_trials(self) -> list[FrozenTrial]:
        """The Pareto front."""
        return self.optuna.best_trials

    @property
    def best_value(self) -> float:
        """The value of ``best_trial``."""
        try:
            return self.optuna.best_value
        except ValueError as error:
            raise self._no_best(error) from None

    @property
    def best_config(self) -> dict[str, Any]:
        """The configuration in force when the best value was reported (population-based training changes it)."""
        return self._config_at_value(self.best_trial)

    @property
    def best_params(self) -> dict[str, Any]:
        """``best_config`` as flat Optuna parameters."""
        trial = self.best_trial
        config = self._exploited_config_at(trial, trial.value)
        if config is None:
            return trial.params
        return {**trial.params, **(self._flatten(config))}

    def config(self, trial: FrozenTrial) -> dict[str, Any]:
        """The nested configuration of natural values of a stored trial, the last one where it changed."""
        changed = self._exploits_of(trial)
        return changed[-1][1] if changed else self._config_of_frozen(trial)

    @property
    def user_attrs(self) -> dict[str, Any]:
        """Attributes stored with the study."""
        return self.optuna.user_attrs

    def set_user_attr(self, key: str, value: Any) -> None:
        """Stores a JSON value with the study."""
        self.optuna.set_user_attr(key, value)

    @property
    def metric_names(self) -> list[str] | None:
        """Names of the objectives, where they were given."""
        return self.optuna.metric_names

    def set_metric_names(self, metric_names: list[str]) -> None:
        """Names the objectives, for Optuna's plots and dashboard."""
        self.optuna.set_metric_names(metric_names)

    def add_trial(self, trial: FrozenTrial) -> None:
        """Adds a finished trial from elsewhere."""
        self.optuna.add_trial(trial)

    def add_trials(self, trials: Sequence[FrozenTrial]) -> None:
        """Adds finished trials from elsewhere."""
        self.optuna.add_trials(trials)

    def trials_dataframe(self, *args: Any, **kwargs: Any) -> Any:
        """Optuna's ``trials_dataframe``: one row per trial."""
        return self.optuna.trials_dataframe(*args, **kwargs)

    def _config_of_frozen(self, trial: FrozenTrial) -> dict[str, Any]:
        """The sampled configuration: the space's, and whatever was suggested on top of it."""
        if self.space is None:
            return dict(trial.params)
        if len(trial.params) == len(self.space.domains) and not self._grids and GIVEN not in trial.user_attrs:
            return self.space.to_config(trial.params)
        cell = {name: grid.to_natural(trial.params[name]) for name, grid in self._grids.items() if name in trial.params}
        config = self.space.to_config(trial.params, given=trial.user_attrs.get(GIVEN, ()), grid=cell)
        for name, value in trial.params.items():
            if name not in self.space.domains and name not in self._grids:
                config[name] = value
        return config

    def schedule_of(self, number: int) -> list[tuple[int, dict[str, Any], int | None]]:
        """``(step, config, donor)`` of each configuration that a stored trial has had, from step 0; see ``Trial``."""
        frozen = self._storage.get_trial(self._storage_id(number))
        return [(0, self._config_of_frozen(frozen), None), *self._exploits_of(frozen)]

    def _exploits_of(self, trial: FrozenTrial) -> list[tuple[int, dict[str, Any], int]]:
        """``(step, config, donor)`` of each exploit of a stored trial, in order of step."""
        stored = stored_exploits(trial)
        if not stored:
            return []
        sampled = self._config_of_frozen(trial)
        return [(step, self._changed(sampled, changes), donor) for step, changes, donor in stored]

    def _changed(self, config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration with stored changes: natural values, or a parameter where JSON cannot hold the value."""
        if self.space is None:
            return {**config, **changes}
        values = {
            name: self.space.domains[name].to_natural(value["param"]) if isinstance(value, dict) else value
            for name, value in changes.items()
        }
        return self.space.replace(config, values)

    def _changes(self, sampled: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
        """What ``config`` changes in the sampled one, as JSON values by flat name."""
        if self.space is None:
            return {name: plain(value) for name, value in config.items() if sampled.get(name, _NOTHING) != value}
        before = self.space.flatten(sampled)
        changes: dict[str, Any] = {}
        for name, value in self.space.flatten(config).items():
            if name in before and (before[name] is value or before[name] == value):
                continue
            is_simple = value is None or type(value) in (bool, int, float, str)
            domain = self.space.domains.get(name)
            changes[name] = plain(value) if is_simple or domain is None else {"param": domain.to_param(value)}
        return changes

    def _config_at_value(self, trial: FrozenTrial) -> dict[str, Any]:
        config = self._exploited_config_at(trial, trial.value)
        return self._config_of_frozen(trial) if config is None else config

    def _exploited_config_at(self, trial: FrozenTrial, value: float | None) -> dict[str, Any] | None:
        """The exploit's configuration in force when ``value`` was reported; None for the sampled one."""
        changed = self._exploits_of(trial)
        if not changed:
            return None
        steps = [step for step, reported in sorted(trial.intermediate_values.items()) if reported == value]
        reached = steps[0] if steps else trial.last_step or 0
        in_force = None
        for step, config, _ in changed:
            if step < reached:
                in_force = config
        return in_force

    def _flatten(self, config: Mapping[str, Any]) -> dict[str, Any]:
        if self.space is None:
            return dict(config)
        flat = self.space.flatten(config)
        return {name: domain.to_param(flat[name]) for name, domain in self.space.domains.items() if name in flat}

    def _storage_id(self, number: int) -> int:
        try:
            if number < 0:
                raise KeyError(number)
            return self._storage.get_trial_id_from_study_id_trial_number(self.optuna._study_id, number)
        except KeyError:
            raise InvalidArgument(
                f"there is no trial {number} in study {self.study_name!r}; tell a trial that ask() returned"
            ) from None


def stored_exploits(trial: FrozenTrial) -> list[tuple[int, dict[str, Any], int]]:
    """``(step, changes, donor)`` of each exploit of a stored trial, in order of step.

    The changes are against the configuration that was sampled, by flat name.
    """
    found = [
        (int(key[len(DECISION) :]), value["changes"], int(value["donor"]))
        for key, value in trial.user_attrs.items()
        if key.startswith(DECISION) and isinstance(value, dict)
    ]
    return sorted(found, key=lambda entry: entry[0])
