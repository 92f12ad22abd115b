"""The steps that ``ReduceLROnPlateau`` still owes when a checkpoint is saved.

Lightning takes them after the last hook of an epoch, by metrics that it does not save: in a training that resumes from
a checkpoint of the end of an epoch that step is never taken.
"""

from __future__ import annotations

from typing import Any

__all__ = ["pending_plateaus"]


def pending_plateaus(trainer: Any) -> dict[int, float]:
    """By the scheduler's index, the value that it will be stepped with once this epoch is over."""
    if not trainer.fit_loop.epoch_loop._num_ready_batches_reached():
        return {}
    if not trainer.lightning_module.automatic_optimization:
        return {}
    metrics = trainer.callback_metrics
    return {
        index: float(metrics[config.monitor])
        for index, config in enumerate(trainer.lr_scheduler_configs)
        if config.reduce_on_plateau
        and config.interval == "epoch"
        and (trainer.current_epoch + 1) % config.frequency == 0
        and config.monitor in metrics
    }
