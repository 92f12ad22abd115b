"""Trainables: functions, classes and scripts, and the session inside a trial."""

from __future__ import annotations

from tuneflow.trainable.binding import with_parameters, with_resources
from tuneflow.trainable.class_api import Trainable
from tuneflow.trainable.hypermodel import HyperModel
from tuneflow.trainable.session import get_checkpoint, get_trial, report

__all__ = ["HyperModel", "Trainable", "get_checkpoint", "get_trial", "report", "with_parameters", "with_resources"]
