"""Listeners: what hears the events of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuneflow.callbacks.adapted import OptunaCallback, as_callback
from tuneflow.callbacks.base import Callback
from tuneflow.callbacks.csv_logger import CsvLogger
from tuneflow.callbacks.error_logger import ErrorLogger
from tuneflow.callbacks.json_logger import JsonLogger
from tuneflow.callbacks.progress import Progress, ProgressReporter, RunInfo
from tuneflow.callbacks.progress_table import ProgressTable
from tuneflow.moved import lacks

__all__ = [
    "DEFAULT_LOGGERS",
    "Callback",
    "CsvLogger",
    "ErrorLogger",
    "JsonLogger",
    "OptunaCallback",
    "Progress",
    "ProgressReporter",
    "ProgressTable",
    "RunInfo",
    "as_callback",
]

DEFAULT_LOGGERS: tuple[type[Callback], ...] = (JsonLogger, CsvLogger)

if not TYPE_CHECKING:  # a type checker is to find names that do not exist

    def __getattr__(name: str) -> Any:
        raise lacks(__name__, name)
