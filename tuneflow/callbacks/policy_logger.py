"""``pbt_policy.json``: how the configuration behind a trial's weights changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tuneflow.callbacks.base import Callback
from tuneflow.plain import plain
from tuneflow.pruners.replay import lineage

if TYPE_CHECKING:
    from tuneflow.pruners import Exploit
    from tuneflow.study import Study
    from tuneflow.trial import Trial

__all__ = ["PolicyLogger"]


class PolicyLogger(Callback):
    """Writes the schedule that a member's weights went through, its donors' parts included, at every exploit.

    The file holds a JSON list of ``[step, config, donor]``: what ``PBTReplay`` takes. A trial that was never told
    to exploit has none.

    Example:
        >>> import tuneflow as tune
        >>> study = tune.create_study({"x": tune.uniform(0, 1)})
        >>> study.add_callback(PolicyLogger())
    """

    def __init__(self) -> None:
        self._schedules: dict[int, list[tuple[int, dict[str, Any], int | None]]] = {}

    def on_study_start(self, study: Study) -> None:
        for trial in study.live_trials():
            self._schedules[trial.number] = list(trial.schedule) or [(0, trial.config, None)]

    def on_trial_start(self, trial: Trial) -> None:
        self._schedules[trial.number] = [(0, trial.config, None)]

    def on_trial_exploit(self, trial: Trial, decision: Exploit) -> None:
        self._schedules[trial.number] = list(trial.schedule)
        known = {decision.donor, *(donor for *_, donor in trial.schedule if donor is not None)}
        if not known <= self._schedules.keys():
            return
        policy = [[step, plain(config), donor] for step, config, donor in lineage(self._schedules, trial.number)]
        draft = trial.dir / ".pbt_policy.json"
        draft.write_text(json.dumps(policy))
        draft.replace(trial.dir / "pbt_policy.json")
