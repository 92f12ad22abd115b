"""XGBoost: boosting rounds as the steps of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xgboost

from tuneflow.checkpoint import Checkpoint
from tuneflow.moved import lacks, refusing
from tuneflow_integrations.trials import EachRound, decision_ends

__all__ = ["TuneCallback"]

if not TYPE_CHECKING:  # a type checker is to find names that do not exist

    def __getattr__(name: str) -> Any:
        raise lacks(__name__, name)


_FILE = "model.ubj"
_Base: Any = xgboost.callback.TrainingCallback


@refusing("TuneCallback")
class TuneCallback(EachRound, _Base):  # type: ignore[misc]
    """Reports after boosting rounds, and ends the training when the trial is told to.

    ::

        callback = TuneCallback({"loss": "valid-logloss"}, trial=trial)
        booster = callback.train(params, train_data, 200, evals=[(valid_data, "valid")])

    Args:
        metrics: what to report: ``"DATA-METRIC"`` of ``evals``, several, or ``{"loss": "valid-logloss"}``.
        trial: a trial of tuneflow's or of Optuna's; without one, that which runs here.
        every: report every so many rounds.
        checkpoint: False never saves: a paused trial then starts over.

    Attributes:
        decision: the answer to the last report.
    """

    def train(self, params: Mapping[str, Any], dtrain: Any, num_boost_round: int = 10, **arguments: Any) -> Any:
        """``xgboost.train``, from the trial's checkpoint where it has one; ``num_boost_round`` is the whole budget.

        Returns:
            The booster.
        """
        checkpoint = self._target.checkpoint
        if isinstance(checkpoint, Checkpoint):
            booster = xgboost.Booster(model_file=str(checkpoint.path / _FILE))
            arguments["xgb_model"] = booster
            num_boost_round = max(num_boost_round - booster.num_boosted_rounds(), 0)
        arguments["callbacks"] = [*(arguments.get("callbacks") or ()), self]
        return xgboost.train(dict(params), dtrain, num_boost_round, **arguments)

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Any]]) -> bool:
        is_one = isinstance(model, xgboost.Booster)  # else the folds of xgboost.cv, which cannot be saved
        step = model.num_boosted_rounds() if is_one else epoch + 1
        if step % self._every:
            return False
        logged = {
            f"{data}-{metric}": values[-1][0] if isinstance(values[-1], tuple) else values[-1]
            for data, metrics in evals_log.items()
            for metric, values in metrics.items()
        }
        save = (lambda folder: model.save_model(str(Path(folder) / _FILE))) if self._saves and is_one else None
        metrics = self._metrics.pick(logged, "Give the data to evals=[(data, name)]: the metric is 'name-metric'")
        self.decision = self._target.report(metrics, step, save)
        return decision_ends(self.decision)

    def after_training(self, model: Any) -> Any:
        self._target.unwind()
        return model
