"""The callback that ``fit`` gets: each ``on_epoch_end`` is a report to the tuner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["EpochCallback"]


class EpochCallback:
    """Has the tuner hear of each epoch. It has every method of a Keras callback, so that ``model.fit`` takes it.

    In a loop of one's own: ``callback.set_model(model)`` before it, ``callback.on_epoch_end(epoch, logs)`` after each
    epoch, counted from 0, with the objective among ``logs``. The call does not return where the trial has to stop or to
    pause: ``fit`` is unwound, ``finally`` blocks run.

    Attributes:
        model: what is saved; None for what ``build`` returned.
        params: what Keras says of the training.
    """

    async_safe = False  # Keras's, as ``params``

    def __init__(self, epoch_ended: Callable[[Any, int, Mapping[str, Any]], None]) -> None:
        self._epoch_ended = epoch_ended
        self.model: Any = None
        self.params: Any = None

    def set_model(self, model: Any) -> None:
        """Says what is trained."""
        self.model = model

    def set_params(self, params: Any) -> None:
        """Keras says how it trains."""
        self.params = params

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """The epoch, counted from 0, is over.

        Args:
            epoch: grows by one.
            logs: its metrics, numbers of Python, NumPy or torch; where the objective is not among them nothing is
                reported.
        """
        self._epoch_ended(self.model, epoch, logs or {})

    def _nothing(self, *_: Any, **__: Any) -> None:
        pass

    _nothing._is_default = True  # type: ignore[attr-defined]  # tells Keras that nothing is overridden

    on_train_begin = on_train_end = on_test_begin = on_test_end = on_predict_begin = on_predict_end = _nothing
    on_epoch_begin = on_batch_begin = on_batch_end = on_train_batch_begin = on_train_batch_end = _nothing
    on_test_batch_begin = on_test_batch_end = on_predict_batch_begin = on_predict_batch_end = _nothing
