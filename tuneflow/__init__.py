"""tuneflow: hyperparameter optimization for real training jobs."""

from __future__ import annotations

__version__ = "0.1.0"
