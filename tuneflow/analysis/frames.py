"""Tables of results. The only place of this storey that knows pandas, and it imports it late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuneflow.analysis.records import TrialRecord
from tuneflow.callbacks.flattening import flatten
from tuneflow.plain import MASK, is_secret, masked

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["flat", "history", "table"]


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dict as a flat one, nested keys joined by ``/``, secrets masked."""
    return {
        key: MASK if value is not None and any(map(is_secret, key.split("/"))) else masked(value)
        for key, value in flatten(nested, prefix).items()
    }


def table(rows: Sequence[tuple[TrialRecord, Mapping[str, Any]]]) -> pd.DataFrame:
    """A row per trial: the result, ``trial_id``, ``config/...`` and ``logdir``."""
    import pandas as pd

    columns = ["trial_id", "logdir"] if not rows else None
    return pd.DataFrame(
        [
            {
                **flat(result),
                "trial_id": trial.trial_id,
                **flat(trial.config, "config/"),
                "logdir": trial.logdir,
            }
            for trial, result in rows
        ],
        columns=columns,
    )


def history(results: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row per result."""
    import pandas as pd

    return pd.DataFrame([flat(result) for result in results])
