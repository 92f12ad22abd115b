"""``pbt_policy.json``, beyond the runs in ``tests/runner/test_pbt_runs.py``."""

from __future__ import annotations

import json
from pathlib import Path

import tuneflow as tune
from tuneflow.callbacks.policy_logger import PolicyLogger
from tuneflow.pruners import PBT, Exploit


def test_a_policy_goes_back_to_donors_that_ended_under_a_driver_before(tmp_path: Path) -> None:
    storage = str(tmp_path / "study.log")
    space = {"x": tune.uniform(0, 1)}
    pruner = PBT({"x": tune.uniform(0, 1)}, perturbation_interval=1)
    study = tune.create_study(space, storage=storage, study_name="s", pruner=pruner, seed=1)
    first, second = study.ask(), study.ask()
    first.report(0.1, step=1, checkpoint={"w": 1})
    decision = second.report(0.9, step=1, checkpoint={"w": 2})
    assert isinstance(decision, Exploit)
    study.tell(first, 0.1)
    study.tell(second, 0.9)

    logger = PolicyLogger()
    again = tune.load_study(study_name="s", storage=storage, space=space)
    again.add_callback(logger)
    third = again.ask()
    copied = Exploit(second.number, {"x": 0.25})
    third.change_config(copied, 3)
    logger.on_trial_exploit(third, copied)
    assert json.loads((third.dir / "pbt_policy.json").read_text()) == [
        [0, first.config, None],
        [1, decision.config, first.number],
        [3, {"x": 0.25}, second.number],
    ]
