"""Where in MLflow a study is logged to: the server, the experiment, and the tags of its runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.environment_variables import MLFLOW_EXPERIMENT_NAME

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.plain import without_passwords

__all__ = ["FOLDER", "Place", "checked_uri"]

FOLDER = "tracking/mlflow"
"""Where the spools are in an experiment's folder."""
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a study is logged to.

    Attributes:
        uri: the tracking URI, with the passwords in it.
        experiment: the experiment's name.
        tags: for every run.
    """

    uri: str
    experiment: str
    tags: dict[str, str]

    @classmethod
    def of(
        cls,
        study_name: str,
        section: Mapping[str, Any] | None,
        *,
        uri: str | None = None,
        experiment_name: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Place:
        """What was given, else what ``config["mlflow"]`` says, else MLflow's own defaults, which are only read.

        Raises:
            InvalidArgument: ``config["mlflow"]``, which is the section, has entries that mean nothing here.
        """
        own = section or {}
        unknown = sorted(set(own) - {"tracking_uri", "experiment_name", "tags"})
        if unknown:
            raise InvalidArgument(
                f"config['mlflow'] holds {', '.join(map(str, unknown))}; it may hold tracking_uri, experiment_name and "
                f"tags, everything else is given to MLflowLogger"
            )
        if uri is None:
            uri = checked_uri(own["tracking_uri"]) if own.get("tracking_uri") else str(mlflow.get_tracking_uri())
        experiment = experiment_name or own.get("experiment_name") or MLFLOW_EXPERIMENT_NAME.get() or study_name
        return cls(uri, str(experiment), {**texts(own.get("tags") or {}), **(tags or {})})

    @property
    def safe_uri(self) -> str:
        """The URI with its passwords masked."""
        return without_passwords(self.uri)

    @property
    def spool_name(self) -> str:
        """Names the spool: one per server and experiment, so that two loggers of one study stay apart."""
        return hashlib.sha256(f"{self.safe_uri}\n{self.experiment}".encode()).hexdigest()[:12]


def texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow takes them."""
    return {str(key): str(value) for key, value in tags.items()}


def checked_uri(uri: str | Path) -> str:
    """A tracking URI that MLflow can use.

    Raises:
        InvalidArgumentType: it is neither text nor a path.
        InvalidArgument: MLflow does not take it.
    """
    if not isinstance(uri, (str, Path)):
        raise InvalidArgumentType(f"tracking_uri={uri!r} must be a URI, for instance 'http://127.0.0.1:5000'")
    text = str(uri)
    scheme = text.partition("://")[0].partition("+")[0] if "://" in text else ""
    if scheme in ("http", "https", *_DATABASES):
        return text
    try:
        mlflow.MlflowClient(text)
    except Exception as error:
        raise InvalidArgument(
            f"tracking_uri={without_passwords(text)!r} must be a server's address ('http://127.0.0.1:5000') or a "
            f"database ('sqlite:///mlflow.db'); MLflow says: {without_passwords(str(error))}"
        ) from None
    return text
