"""PyTorch Lightning, as ``lightning`` and as ``pytorch_lightning``: a callback that makes any training a trial."""

from __future__ import annotations

from tuneflow_integrations.lightning.callback import TuneCallback

__all__ = ["TuneCallback"]
