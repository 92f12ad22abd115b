from __future__ import annotations

import optuna
import pytest

from tuneflow.samplers.ledger import Ledger


def test_a_list_of_trials_that_is_older_than_what_was_seen_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study()
    trials = [study.ask() for _ in range(3)]
    ledger = Ledger()
    ledger.follow(study, current=-1)
    older = study.get_trials(deepcopy=False)[:1]
    with monkeypatch.context() as patch:  # as a thread sees it that began to ask before the others
        patch.setattr(study, "_get_trials", lambda **_: older)
        ledger.follow(study, current=-1)
    for trial in trials:
        trial.suggest_float("x", 0, 1)
        study.tell(trial, float(trial.number))
    ledger.follow(study, current=-1)
    assert sorted(seen.number for seen in ledger.observations) == [0, 1, 2]
