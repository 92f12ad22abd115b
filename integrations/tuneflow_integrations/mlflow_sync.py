"""``tuneflow sync FOLDER`` for MLflow: sends what the spools of an experiment still hold."""

from __future__ import annotations

import time
from pathlib import Path

from tuneflow.clock import Clock, SystemClock
from tuneflow.errors import TrackingUnavailable
from tuneflow.plain import without_passwords
from tuneflow_integrations.mlflow_place import FOLDER
from tuneflow_integrations.mlflow_sender import MlflowSender
from tuneflow_integrations.spool import Spool

__all__ = ["sync"]

_PATIENCE_S = 10.0


def sync(folder: Path, uri: str | None = None, *, clock: Clock | None = None) -> list[str]:
    """Sends what the server lacks. May be called while the experiment runs, and again at any time.

    Args:
        folder: the experiment's.
        uri: where to send it; by default where it was to go. Credentials are not stored: give them here, or in
            MLflow's environment variables.
        clock: where times come from.

    Returns:
        One line per spool, for people.

    Raises:
        TrackingUnavailable: the server does not answer, or another process is sending the same; nothing is lost.
    """
    return [
        _sync(Spool(path.parent), uri, clock or SystemClock())
        for path in sorted(folder.glob(f"{FOLDER}/*/target.json"))
    ]


def _sync(spool: Spool, uri: str | None, clock: Clock) -> str:
    sender = MlflowSender(spool, uri)
    where = f"MLflow, {without_passwords(sender.uri)}, experiment {sender.target['experiment']!r}"
    n_sent, give_up_s = sender.drain(), clock.monotonic() + _PATIENCE_S
    while spool.n_unsent_bytes:
        if clock.monotonic() > give_up_s:
            raise TrackingUnavailable(without_passwords(sender.uri), "another process is sending the same; wait for it")
        time.sleep(0.2)
        n_sent += sender.drain()
    return f"{where}: {n_sent} entries sent" if n_sent else f"{where}: nothing was left to send"
