"""LightGBM: boosting rounds as the steps of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightgbm

from tuneflow.checkpoint import Checkpoint
from tuneflow.moved import lacks, refusing
from tuneflow_integrations.trials import EachRound, decision_ends

__all__ = ["TuneCallback"]

if not TYPE_CHECKING:  # a type checker is to find names that do not exist

    def __getattr__(name: str) -> Any:
        raise lacks(__name__, name)


_FILE = "model.txt"


@refusing("TuneCallback")
class TuneCallback(EachRound):
    """Reports after boosting rounds, and ends the training when the trial is told to.

    ::

        callback = TuneCallback({"loss": "valid_0-binary_logloss"}, trial=trial)
        booster = callback.train(params, train_data, 200, valid_sets=[valid_data])

    Args:
        metrics: what to report: ``"DATA-METRIC"``, several, or ``{"loss": "valid_0-binary_logloss"}``.
        trial: a trial of tuneflow's or of Optuna's; without one, that which runs here.
        every: report every so many rounds.
        checkpoint: False never saves: a paused trial then starts over.

    Attributes:
        decision: the answer to the last report.
        order: LightGBM calls callbacks in this order: before its own early stopping.
    """

    order = 25
    before_iteration = False

    def train(self, params: Mapping[str, Any], train_set: Any, num_boost_round: int = 100, **arguments: Any) -> Any:
        """``lightgbm.train``, from the trial's checkpoint where it has one; ``num_boost_round`` is the whole budget.

        Returns:
            The booster.
        """
        checkpoint = self._target.checkpoint
        if isinstance(checkpoint, Checkpoint):
            booster = lightgbm.Booster(model_file=str(checkpoint.path / _FILE))
            if booster.current_iteration() >= num_boost_round:
                return booster
            arguments["init_model"] = booster
            num_boost_round -= booster.current_iteration()
        arguments["callbacks"] = [*(arguments.get("callbacks") or ()), self]
        return lightgbm.train(dict(params), train_set, num_boost_round, **arguments)

    def __call__(self, env: Any) -> None:
        """What LightGBM calls after each round."""
        step = env.iteration + 1
        if step % self._every:
            return
        logged = {f"{data}-{metric}": value for data, metric, value, *_ in env.evaluation_result_list or ()}
        save = None
        if self._saves and isinstance(env.model, lightgbm.Booster):  # the folds of lightgbm.cv cannot be saved
            save = self._saver(env.model)
        metrics = self._metrics.pick(logged, "Give the data to valid_sets=[...]: the metric is 'valid_0-metric'")
        self.decision = self._target.report(metrics, step, save)
        if decision_ends(self.decision):
            self._target.unwind()
            raise lightgbm.callback.EarlyStopException(env.iteration, env.evaluation_result_list)

    @staticmethod
    def _saver(model: Any) -> Any:
        return lambda folder: model.save_model(str(Path(folder) / _FILE))
