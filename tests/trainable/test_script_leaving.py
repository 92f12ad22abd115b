"""How programs leave: stopped, paused, taking over another trial's state, failing, resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tuneflow as tune
from tuneflow.checkpoint import Checkpoint, Deferred
from tuneflow.errors import (
    CheckpointMissing,
    TuneflowWarning,
)
from tuneflow.pruners import ASHA, PBT, Exploit
from tuneflow.trainable.messages import Answer, Assignment
from tuneflow.trainable.script_run import ScriptRun
from tuneflow.trainable.session import Session

SPACE = {"x": tune.uniform(0, 1)}
Write = Callable[[str, str], Path]


def run(trainable: Any, config: Any = SPACE, **arguments: Any) -> tune.ExperimentAnalysis:
    given = {
        "metric": "loss", "mode": "min", "storage_path": "results", "name": "e", "verbose": 0, "seed": 0,
        "executor": "inline", **arguments,
    }  # fmt: skip
    return tune.run(trainable, config, **given)


CLIMB = """\
import os, sys, time
from pathlib import Path
import tuneflow

trial = tuneflow.get_trial()
folder, n = tuneflow.get_checkpoint(), 0
if folder is not None:
    n = int((folder.path / "n").read_text())
with open("log", "a") as log:
    log.write(f"{trial.number} from {n} step {trial.start_step} x {sys.argv[1]}\\n")
try:
    while n < 9:
        n += 1
        tuneflow.report({"loss": float(sys.argv[1]) / n, "n": n}, checkpoint=lambda to: (to / "n").write_text(str(n)))
except Exception:
    print("not for you")
finally:
    with open("log", "a") as log:
        log.write(f"{trial.number} left at {n}\\n")
"""


def test_a_stopped_program_unwinds(write: Write) -> None:
    write("climb.py", CLIMB)
    analysis = run(
        tune.script("climb.py", "{x}"), {"x": tune.grid_search([1, 2])}, scheduler=ASHA(9, reduction_factor=3)
    )
    assert [len(trial.results) for trial in analysis.trials] == [9, 1]
    assert Path("log").read_text().splitlines()[-2:] == ["1 from 0 step 0 x 2", "1 left at 1"]
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "TERMINATED"]


def test_a_paused_program_goes_on_from_its_checkpoint(write: Write) -> None:
    write("climb.py", CLIMB)
    scheduler = ASHA(9, reduction_factor=3, promote=True)
    analysis = run(tune.script("climb.py", "{x}"), {"x": tune.grid_search([1, 2, 3])}, scheduler=scheduler)
    best = analysis.trials[0]
    assert [result["n"] for result in best.results] == list(range(1, len(best.results) + 1))
    assert [result["training_iteration"] for result in best.results] == [result["n"] for result in best.results]
    assert "0 from 1 step 1 x 1" in Path("log").read_text()
    assert [len(trial.results) for trial in analysis.trials[1:]] == [1, 1]


def test_an_exploit_restarts_the_program_with_the_donors_state(write: Write) -> None:
    write("climb.py", CLIMB)
    pbt = PBT({"x": [1.0, 2.0]}, population_size=2, perturbation_interval=3, quantile_fraction=0.5, synchronous=True)
    analysis = run(
        tune.script("climb.py", "{x}"), {"x": tune.choice([1.0, 2.0])}, scheduler=pbt, num_samples=2,
        points_to_evaluate=[{"x": 1.0}, {"x": 2.0}],
    )  # fmt: skip
    log = Path("log").read_text()
    assert "1 from 3 step 3 x" in log, "trial 1 goes on from the state of trial 0"
    for trial in analysis.trials:
        assert [result["n"] for result in trial.results] == list(range(1, 10))


def test_a_program_that_prints_cannot_be_copied(write: Write) -> None:
    write("plain.py", "for i in range(99):\n    print('loss=1')")
    pbt = PBT({"x": [1.0, 2.0]}, population_size=2, perturbation_interval=3)
    with pytest.raises(CheckpointMissing, match="reported without a checkpoint, but PBT"):
        run(tune.script("plain.py"), num_samples=2, scheduler=pbt)


def test_a_program_that_prints_starts_over_after_a_pause(write: Write) -> None:
    write("plain.py", "import sys\nfor i in range(9):\n    print('loss=' + sys.argv[1])")
    with pytest.warns(TuneflowWarning, match="starts over"):
        analysis = run(
            tune.script("plain.py", "{x}"), {"x": tune.grid_search([1, 2, 3])},
            scheduler=ASHA(9, reduction_factor=3, promote=True),
        )  # fmt: skip
    assert [result["training_iteration"] for result in analysis.trials[0].results] == list(range(1, 10))


STUBBORN = """\
import os, signal, sys, time
def on_term(*_):
    with open("log", "a") as log:
        log.write("asked to end\\n")
    if sys.argv[1] == "polite":
        sys.exit(0)
signal.signal(signal.SIGTERM, on_term)
for i in range(1000):
    print("loss=1")
    time.sleep(0.02)
"""


@pytest.mark.parametrize("manner", ["polite", "stubborn"])
def test_a_program_that_prints_is_told_by_signals(write: Write, manner: str) -> None:
    write("stubborn.py", STUBBORN)
    analysis = run(tune.script("stubborn.py", manner, grace_s=0.3), stop={"training_iteration": 2})
    assert len(analysis.trials[0].results) == 2
    assert Path("log").read_text() == "asked to end\n"


def test_a_program_that_does_not_leave_is_ended(write: Write) -> None:
    text = """\
        import signal, time, tuneflow
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            try:
                tuneflow.report(loss=1)
            except BaseException:
                time.sleep(0.05)
        """
    write("deaf.py", text)
    analysis = run(tune.script("deaf.py", grace_s=0.3), stop={"training_iteration": 2})
    assert len(analysis.trials[0].results) == 2, "what it says afterwards is not heard"
    assert analysis.trials[0].status == "TERMINATED"


def test_a_failed_program_goes_on_from_its_checkpoint(write: Write) -> None:
    write("climb.py", CLIMB.replace("n += 1\n", "n += 1\n        trial.attempt > 1 or n < 5 or sys.exit('once')\n", 1))
    analysis = run(tune.script("climb.py", "{x}"), {"x": 1}, max_failures=1, checkpoint_freq=2)
    assert [result["n"] for result in analysis.trials[0].results] == list(range(1, 10))
    assert "0 from 4 step 4" in Path("log").read_text()


def test_a_checkpoint_that_is_not_saved_at_a_pause(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    text = """\
        import os, sys, tuneflow
        def save(to):
            os._exit(0) if sys.argv[1] == "dies" else to.no_such_thing
        for n in range(3):
            tuneflow.report(loss=1, checkpoint=save)
        """
    write("train.py", text)
    for manner, what in (("dies", "before the checkpoint was saved"), ("raises", "no_such_thing")):
        caplog.clear()
        with pytest.warns(TuneflowWarning, match="starts over"):
            run(tune.script("train.py", manner), num_samples=3, name=manner, raise_on_failed_trial=False,
                scheduler=ASHA(3, reduction_factor=3, promote=True))  # fmt: skip
        assert "could not save when it paused" in caplog.text
        assert what in caplog.text


def test_a_trial_that_copies_itself_hears_twice(write: Write) -> None:
    write("train.py", "import tuneflow\ntuneflow.report(loss=1, checkpoint=lambda to: (to / 'a').write_text('a'))")

    class Driver:
        said: list[Any] = []

        def ask(self, event: Any) -> Answer:
            self.send(event)
            return Answer(Exploit(donor=0, config={"x": 2}), save=True)

        def send(self, event: Any) -> None:
            self.said.append(event)

        def receive(self) -> Answer:
            return Answer(Exploit(donor=0, config={"x": 2}, checkpoint=Checkpoint("there")))

    session = Session(Assignment(trial=0, folder="trial"), Driver())
    stay = ScriptRun(session, name="train", metrics=True, required=["loss"], grace_s=5.0)
    verdict = stay.run([sys.executable, "train.py"], os.environ, None)
    assert verdict == Exploit(donor=0, config={"x": 2}, checkpoint=Checkpoint("there"))
    reported, saved = Driver.said
    assert (reported.metrics, reported.checkpoint) == ({"loss": 1}, Deferred())
    assert (saved.content.path / "a").read_text() == "a"


def test_the_command_line_resumes_a_run_of_a_script(write: Write) -> None:
    write("climb.py", CLIMB)
    driver = """\
        import os, signal, sys, tuneflow as tune
        class Kill(tune.Callback):
            def on_trial_report(self, trial, result):
                if sys.argv[1] == "killed" and trial.number == 1 and result["n"] == 5:
                    os.kill(os.getpid(), signal.SIGKILL)
        tune.run(
            tune.script("climb.py", "{x}"), {"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=2, seed=0,
            storage_path="results", name="e", verbose=0, executor="inline", checkpoint_freq=2, resume="auto",
            callbacks=[Kill()],
        )
        """
    write("driver.py", driver)
    assert subprocess.run([sys.executable, "driver.py", "killed"], check=False).returncode == -9
    resume = [sys.executable, "-m", "tuneflow.cli.main", "resume", "results/e"]
    assert subprocess.run(resume, check=False).returncode == 0
    for trial in tune.ExperimentAnalysis("results/e").trials:
        assert [result["n"] for result in trial.results] == list(range(1, 10))
    assert "1 from 4 step 4" in Path("log").read_text()


def test_a_secret_of_the_environment_is_written_nowhere(write: Write) -> None:
    run(tune.script(["sh", "-c", "echo loss=1"], env={"MY_API_KEY": "hush"}), name="f")
    assert not any(b"hush" in path.read_bytes() for path in Path("results").rglob("*") if path.is_file())
