"""Reading experiments, finished or running."""

from __future__ import annotations

from tuneflow.analysis.experiment_analysis import ExperimentAnalysis
from tuneflow.analysis.records import TrialRecord

__all__ = ["ExperimentAnalysis", "TrialRecord"]
