"""PyTorch: training loops that pause, resume and take over another trial's state, with one line.

``epochs`` is the loop; ``TorchCheckpoint``, ``set_hyperparameter``, ``MixedPrecision`` and ``ResumableLoader`` are what
it is made of, for loops that it does not fit.
"""

from __future__ import annotations

from tuneflow.seeding import seed_everything
from tuneflow_integrations.torch.checkpoint import TorchCheckpoint
from tuneflow_integrations.torch.hyperparameters import set_hyperparameter
from tuneflow_integrations.torch.live import Live
from tuneflow_integrations.torch.loader import ResumableLoader
from tuneflow_integrations.torch.loop import Epoch, epochs
from tuneflow_integrations.torch.precision import MixedPrecision

__all__ = [
    "Epoch",
    "Live",
    "MixedPrecision",
    "ResumableLoader",
    "TorchCheckpoint",
    "epochs",
    "seed_everything",
    "set_hyperparameter",
]
