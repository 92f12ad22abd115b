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

Schedule = list[tuple[int, dict[str, Any], "int | None"]]


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
        self._study: Study | None = None
        self._schedules: dict[int, Schedule] = {}

    def on_study_start(self, study: Study) -> None:
        self._study = study
        for trial in study.live_trials():
            self._schedules[trial.number] = list(trial.schedule) or [(0, trial.config, None)]

    def on_trial_start(self, trial: Trial) -> None:
        self._schedules[trial.number] = [(0, trial.config, None)]

    def on_trial_exploit(self, trial: Trial, decision: Exploit) -> None:
        self._schedules[trial.number] = list(trial.schedule)
        if self._study is None:  # no study has begun: a trial of nobody's
            return
        schedules = self._schedules_behind(trial.number, self._study)
        policy = [[step, plain(config), donor] for step, config, donor in lineage(schedules, trial.number)]
        draft = trial.dir / ".pbt_policy.json"
        draft.write_text(json.dumps(policy))
        draft.replace(trial.dir / "pbt_policy.json")

    def _schedules_behind(self, number: int, study: Study) -> dict[int, Schedule]:
        """Those of a trial, its donors, theirs, and so on: some may be another driver's, or have ended before."""
        found: dict[int, Schedule] = {}
        waiting = [number]
        while waiting:
            member = waiting.pop()
            if member in found:
                continue
            found[member] = self._schedules.get(member) or study.schedule_of(member)
            waiting.extend(donor for _, _, donor in found[member] if donor is not None)
        return found
