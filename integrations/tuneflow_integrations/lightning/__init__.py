"""PyTorch Lightning, as ``lightning`` and as ``pytorch_lightning``: a callback that makes any training a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneflow.moved import lacks
from tuneflow_integrations.lightning.callback import TuneCallback

__all__ = ["TuneCallback"]

if not TYPE_CHECKING:  # a type checker is to find names that do not exist

    def __getattr__(name: str) -> Any:
        raise lacks(__name__, name)
