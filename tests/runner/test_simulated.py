"""The simulated executor: its clock, its failures, and the Loop on top of it."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tuneflow as tune
from tuneflow.checkpoint import Deferred
from tuneflow.creation import build_study
from tuneflow.errors import InvalidArgument, InvalidArgumentType, ResourcesUnavailable, UsageError
from tuneflow.pruners import ASHA, MedianStopping
from tuneflow.pruners.base import CONTINUE, PAUSE, Continue, Exploit, Stop
from tuneflow.runner.loop import Loop
from tuneflow.runner.rules import Rules
from tuneflow.runner.simulated import SimulatedExecutor, from_name
from tuneflow.trainable.messages import Answer, Assignment, Failed, Finished, Lost, Reported, Saved

GO_ON = Answer(CONTINUE)


def started(executor, *trials, **kwargs):
    executor.prepare(None if executor._curve else flat, "key")
    for trial in trials:
        executor.start(Assignment(trial=trial, **kwargs))
    return executor


def flat(config, step):
    return 0.5


def drain(executor, answer=GO_ON, limit=10_000):
    """Answers every report alike until nothing runs; returns (moment, event) pairs."""
    seen = []
    for _ in range(limit):
        if not executor._jobs:
            return seen
        for event in executor.poll(None):
            seen.append((executor.clock.monotonic(), event))
            if isinstance(event, Reported):
                executor.reply(event.trial, answer)
    raise AssertionError("it does not end")


def reports(seen):
    return [(moment, event.trial, event.iteration) for moment, event in seen if isinstance(event, Reported)]


# Time


def test_events_come_in_order_of_time_and_then_of_trial():
    executor = started(SimulatedExecutor(3, flat, lambda config, step: config["cost"], max_steps=2))
    for trial, cost in ((2, 1.0), (0, 2.0), (1, 1.0)):
        executor.start(Assignment(trial=trial, config={"cost": cost}))
    assert reports(drain(executor)) == [(1.0, 1, 1), (1.0, 2, 1), (2.0, 0, 1), (2.0, 1, 2), (2.0, 2, 2), (4.0, 0, 2)]


def test_a_trial_ends_at_the_moment_of_its_last_report():
    seen = drain(started(SimulatedExecutor(1, flat, 0.1, max_steps=10), 0))
    moment, event = seen[-1]
    assert event == Finished(0, 1, None, False, "config")
    assert moment == seen[-2][0] == 1.0  # ten times 0.1, and no sum of roundings
    assert len(seen) == 11


def test_poll_waits_no_longer_than_asked_in_virtual_time():
    executor = started(SimulatedExecutor(1, flat, 3.0, max_steps=1), 0)
    assert executor.poll(2.0) == []
    assert executor.clock.monotonic() == 2.0
    (event,) = executor.poll(2.0)
    assert isinstance(event, Reported)
    assert executor.clock.monotonic() == 3.0


def test_a_report_holds_its_trial_up_and_no_other():
    executor = started(SimulatedExecutor(2, flat, max_steps=2), 0, 1)
    assert [executor.poll(None)[0].trial for _ in range(2)] == [0, 1]
    executor.reply(1, GO_ON)
    (event,) = executor.poll(None)
    assert (event.trial, event.iteration, executor.clock.monotonic()) == (1, 2, 2.0)
    executor.reply(0, GO_ON)  # late: its second step begins only now
    executor.reply(1, GO_ON)
    assert isinstance(executor.poll(None)[0], Finished)
    (event,) = executor.poll(None)
    assert (event.trial, event.iteration, executor.clock.monotonic()) == (0, 2, 3.0)


def test_poll_without_a_limit_refuses_to_wait_for_ever():
    executor = started(SimulatedExecutor(1, flat, max_steps=1), 0)
    executor.poll(None)
    with pytest.raises(UsageError, match="wait for ever"):
        executor.poll(None)
    assert executor.poll(0.5) == []
    assert executor.clock.monotonic() == 1.5


def test_times_of_a_report_are_virtual():
    seen = drain(started(SimulatedExecutor(1, flat, 2.0, startup=1.0, max_steps=2), 0))
    (_, first), (_, second), _ = seen
    assert (first.time_this_iter_s, first.time_total_s, first.timestamp) == (3.0, 3.0, 3.0)
    assert (second.time_this_iter_s, second.time_total_s, second.timestamp) == (2.0, 5.0, 5.0)


def test_reports_at_some_steps_only():
    seen = drain(started(SimulatedExecutor(1, flat, max_steps=7, report_every=3), 0))
    assert reports(seen) == [(3.0, 0, 3), (6.0, 0, 6), (7.0, 0, 7)]
    seen = drain(started(SimulatedExecutor(1, flat, lambda config, step: step, max_steps=9, report_every=[1, 4]), 0))
    assert reports(seen) == [(1.0, 0, 1), (10.0, 0, 4), (45.0, 0, 9)]


# Leaving and coming back


def test_a_stopped_trial_frees_its_worker_at_once():
    executor = started(SimulatedExecutor(1, flat), 0)
    executor.poll(None)
    assert executor.free().times_that_fit(tune.Resources()) == 0
    executor.reply(0, Answer(Stop()))
    assert executor.poll(None) == [Finished(0, 1, None, False, "config")]
    assert executor.clock.monotonic() == 1.0
    assert executor.free().times_that_fit(tune.Resources(cpu=8, gpu=2)) == 1


def test_a_pause_saves_first_and_a_resume_loads():
    executor = started(SimulatedExecutor(1, flat, startup=2.0, checkpoint_cost=0.5, max_steps=3), 0)
    (event,) = executor.poll(None)
    assert event.checkpoint == Deferred()
    executor.reply(0, Answer(PAUSE, save=True))
    assert executor.poll(None) == [Saved(0, 1, 1, 1, 1, "needed"), Finished(0, 1, None, False, "config")]
    assert executor.clock.monotonic() == 3.5
    executor.start(Assignment(trial=0, checkpoint=1, start_step=1, time_total_s=3.0))
    seen = drain(executor)
    assert reports(seen) == [(3.5 + 2.0 + 0.5 + 1.0, 0, 2), (8.0, 0, 3)]
    assert [event.time_total_s for _, event in seen[:2]] == [6.5, 7.5]


def test_a_checkpoint_of_step_zero_is_not_a_restart():
    executor = started(SimulatedExecutor(1, flat, checkpoint_cost=0.5, max_steps=1))
    executor.start(Assignment(trial=0, checkpoint=0))
    assert reports(drain(executor)) == [(1.5, 0, 1)]


def test_saving_on_the_way_delays_the_next_step():
    executor = started(SimulatedExecutor(1, flat, checkpoint_cost=0.25, max_steps=2), 0)
    executor.poll(None)
    executor.reply(0, Answer(Continue(save=True), save=True, keep=True))
    assert executor.poll(None) == [Saved(0, 1, 1, 1, 1, "kept")]
    assert reports(drain(executor)) == [(2.25, 0, 2)]


def test_an_exploit_changes_what_is_trained():
    executor = started(SimulatedExecutor(1, lambda config, step: config["x"], checkpoint_cost=0.5, max_steps=2))
    executor.start(Assignment(trial=0, config={"x": 1.0}))
    executor.poll(None)
    executor.reply(0, Answer(Exploit(donor=7, config={"x": 3.0}, checkpoint=1)))
    (event,) = executor.poll(None)
    assert (event.iteration, event.metrics, executor.clock.monotonic()) == (2, 3.0, 2.5)


def test_without_checkpoints_nothing_is_offered():
    executor = started(SimulatedExecutor(1, flat, checkpoints=False), 0)
    assert executor.poll(None)[0].checkpoint is None


def test_a_killed_trial_is_silent():
    executor = started(SimulatedExecutor(2, flat, max_steps=1), 0, 1)
    executor.kill(0)
    executor.kill(0)
    assert {event.trial for _, event in drain(executor)} == {1}
    executor.reply(0, GO_ON)  # an answer that was on its way
    executor.start(Assignment(trial=0, attempt=2))
    assert [type(event) for _, event in drain(executor)] == [Reported, Finished]
    executor.start(Assignment(trial=3))
    executor.shutdown()
    executor.shutdown()
    assert executor.free().cpu == 2


def test_misuse_is_told():
    executor = started(SimulatedExecutor(1, flat), 0)
    with pytest.raises(ResourcesUnavailable, match="all 1 workers are taken"):
        executor.start(Assignment(trial=1))
    with pytest.raises(UsageError, match="waits for no reply"):
        executor.reply(0, GO_ON)
    without = SimulatedExecutor(1)
    with pytest.raises(UsageError, match="prepare"):
        without.start(Assignment(trial=0))
    with pytest.raises(InvalidArgumentType, match="needs a curve"):
        without.prepare(None, "key")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_workers": 0}, "n_workers=0"),
        ({"max_steps": 0}, "max_steps=0"),
        ({"cost": -1.0}, "cost=-1.0"),
        ({"startup": math.inf}, "startup=inf"),
        ({"checkpoint_cost": math.nan}, "checkpoint_cost=nan"),
        ({"drop_rate": 1.0}, "drop_rate=1.0"),
        ({"death_rate": -0.1}, "death_rate=-0.1"),
        ({"straggle": -1.0}, "straggle=-1.0"),
        ({"report_every": 0}, "report_every=0"),
        ({"report_every": [4, 1]}, "growing order"),
        ({"seed": -1}, "seed=-1"),
        ({"curve": {}}, "empty"),
        ({"curve": [1.0, 2.0]}, r"shape \(2,\)"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(InvalidArgument, match=message):
        SimulatedExecutor(**{"n_workers": 1, "curve": flat, **arguments})


@pytest.mark.parametrize("curve", ["steep", {"loss": flat, 3: flat}, lambda config: 0.0, lambda a, b, c, d: 0.0])
def test_curves_of_another_kind_are_refused(curve):
    with pytest.raises(InvalidArgumentType):
        SimulatedExecutor(1, curve)


# Curves


def values(curve, trial=0, **kwargs):
    seen = drain(started(SimulatedExecutor(1, curve, **kwargs), trial))
    return [event.metrics for _, event in seen if isinstance(event, Reported)]


def test_tables_and_dicts():
    assert values(np.array([[0.5, 0.4], [0.3, 0.2]]), trial=1) == [0.3, 0.2]
    assert values({3: [0.9], 4: [0.8, 0.7, 0.6]}, trial=4) == [0.8, 0.7, 0.6]
    assert values({"loss": [[0.5, 0.4]], "step": lambda config, step: step}) == [
        {"loss": 0.5, "step": 1},
        {"loss": 0.4, "step": 2},
    ]
    assert values([[0.5, 0.4, 0.3]], max_steps=2, metric="loss") == [{"loss": 0.5}, {"loss": 0.4}]


def test_a_trial_without_a_row_fails_and_says_why():
    ((_, event),) = drain(started(SimulatedExecutor(1, [[0.5]]), 1))
    assert isinstance(event, Failed)
    assert "no row for trial 1" in event.summary


def test_a_curve_or_cost_that_raises_fails_its_trial():
    def curve(config, step):
        if step == 2:
            raise ZeroDivisionError("steep")
        return 0.5

    seen = drain(started(SimulatedExecutor(1, curve, max_steps=3), 0))
    event = seen[-1][1]
    assert isinstance(event, Failed)
    assert isinstance(event.error, ZeroDivisionError)
    assert event.summary == "ZeroDivisionError: steep"
    assert "in curve" in event.traceback_text
    ((_, event),) = drain(started(SimulatedExecutor(1, flat, lambda config, step: math.nan), 0))
    assert "cost(config, 1)=nan" in event.summary


def test_an_error_in_place_of_an_answer_fails_the_trial():
    executor = started(SimulatedExecutor(1, flat), 0)
    executor.poll(None)
    executor.reply(0, UsageError("no"))
    (event,) = executor.poll(None)
    assert isinstance(event, Failed)
    assert event.summary.endswith("UsageError: no")


def test_noise_depends_on_trial_and_step_only():
    def curve(config, step, rng):
        return rng.normal() + rng.random()

    def seeded(config, step, seed):
        return seed

    for noisy in (curve, seeded):
        alone = values(noisy, trial=3, max_steps=4)
        assert len(set(alone)) == 4
        assert values(noisy, trial=3, max_steps=4) == alone
        assert values(noisy, trial=2, max_steps=4) != alone
        assert values(noisy, trial=3, max_steps=4, seed=1) != alone
        together = drain(started(SimulatedExecutor(3, noisy, 0.5, max_steps=4, straggle=1.0), 5, 4, 3))
        assert [event.metrics for _, event in together if isinstance(event, Reported) and event.trial == 3] == alone


def test_noise_is_normal_across_trials_and_steps():
    executor = SimulatedExecutor(1, lambda config, step, rng: rng.normal())
    drawn = np.array([[executor._curve.at(trial, {}, step) for step in range(1, 51)] for trial in range(50)])
    assert abs(drawn.mean()) < 4 / math.sqrt(drawn.size)
    assert abs(drawn.std() - 1.0) < 4 / math.sqrt(2 * drawn.size)
    assert abs(np.corrcoef(drawn[:, :-1].ravel(), drawn[:, 1:].ravel())[0, 1]) < 4 / math.sqrt(drawn.size)
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 4 / math.sqrt(drawn.size)


def test_a_third_parameter_with_a_default_is_the_users_own():
    assert values(lambda config, step, offset=7: offset, max_steps=1) == [7]
    assert values(lambda *arguments: len(arguments), max_steps=1) == [2]


# What goes wrong


def ends(executor, n, steps=None):
    """Moment of the last event of each of n trials that run side by side."""
    return {event.trial: (moment, event) for moment, event in drain(started(executor, *range(n)))}


def test_stragglers_follow_a_folded_normal():
    n, sd = 400, 0.5
    factors = np.array([moment for moment, _ in ends(SimulatedExecutor(n, flat, straggle=sd, max_steps=1), n).values()])
    assert factors.min() >= 1.0
    # |z| has mean sd * sqrt(2 / pi) and standard deviation sd * sqrt(1 - 2 / pi)
    mean, error = 1 + sd * math.sqrt(2 / math.pi), sd * math.sqrt(1 - 2 / math.pi) / math.sqrt(n)
    assert abs(factors.mean() - mean) < 4 * error


def test_each_stay_has_its_own_luck():
    executor = started(SimulatedExecutor(1, flat, straggle=1.0), 0)
    durations = []
    for step in range(5):
        began = executor.clock.monotonic()
        executor.poll(None)
        durations.append(executor.clock.monotonic() - began)
        executor.reply(0, Answer(PAUSE, save=True))
        assert [type(event) for event in executor.poll(None)] == [Saved, Finished]
        executor.start(Assignment(trial=0, checkpoint=step + 1, start_step=step + 1))
    assert len({round(duration, 9) for duration in durations}) == 5


def test_jobs_are_dropped_at_the_given_rate():
    n, rate, steps = 400, 0.1, 5
    last = ends(SimulatedExecutor(n, flat, drop_rate=rate, max_steps=steps), n)
    lost = [moment for moment, event in last.values() if isinstance(event, Lost)]
    expected = 1 - (1 - rate) ** steps
    assert abs(len(lost) / n - expected) < 4 * math.sqrt(expected * (1 - expected) / n)
    assert all(0 < moment <= steps for moment in lost)


def test_workers_die_but_the_last_one():
    executor = SimulatedExecutor(20, flat, death_rate=0.2, max_steps=200)
    last = ends(executor, 20)
    finished = [event for _, event in last.values() if isinstance(event, Finished)]
    lost = [event for _, event in last.values() if isinstance(event, Lost)]
    assert (len(finished), len(lost)) == (1, 19)
    assert all(event.reason.startswith("worker ") for event in lost)
    assert executor.total().times_that_fit(tune.Resources()) == executor.free().times_that_fit(tune.Resources()) == 1


def test_an_idle_worker_dies_too():
    executor = started(SimulatedExecutor(50, flat, death_rate=0.5, max_steps=20), 0)
    drain(executor)
    assert executor.total() == executor.free()
    assert executor.total().cpu < 50


@given(
    n_trials=st.integers(1, 6),
    drop_rate=st.sampled_from([0.0, 0.2]),
    straggle=st.sampled_from([0.0, 0.7]),
    death_rate=st.sampled_from([0.0, 0.2]),
    kills=st.lists(st.integers(0, 5), max_size=4),
    seed=st.integers(0, 2**70),
)
@settings(max_examples=60, deadline=None)
def test_rules_of_the_house(n_trials, drop_rate, straggle, death_rate, kills, seed):
    """Whatever happens: time never goes back, each attempt ends once, and workers are neither lost nor doubled."""
    executor = SimulatedExecutor(
        n_trials, lambda config, step, rng: rng.random(), 0.3, max_steps=4, drop_rate=drop_rate, straggle=straggle,
        death_rate=death_rate, seed=seed,
    )  # fmt: skip
    started(executor, *range(n_trials))
    ended, before = set(), 0.0
    while executor._jobs:
        (event,) = executor.poll(None)
        now = executor.clock.monotonic()
        assert now >= before
        before = now
        assert event.trial not in ended
        if isinstance(event, Reported):
            if kills and kills[-1] == event.trial:
                ended.add(kills.pop())
                executor.kill(event.trial)
            else:
                executor.reply(event.trial, GO_ON)
        else:
            ended.add(event.trial)
    assert ended == set(range(n_trials))
    assert executor.free() == executor.total()
    assert executor.total().cpu >= 1


# With the Loop


SPACE = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}


def learn(config, step, rng):
    return config["x"] + (1 + config["y"]) / step + 0.01 * rng.normal()


def simulate(pruner=None, n_trials=40, seed=0, max_failures=0, checkpoint_freq=0, **kwargs):
    rules = Rules(n_trials=n_trials, max_failures=max_failures, checkpoint_freq=checkpoint_freq, catch=(Exception,))
    executor = SimulatedExecutor(**{"n_workers": 5, "curve": learn, "max_steps": 27, "seed": seed, **kwargs})
    study = build_study(SPACE, sampler="random", pruner=pruner, seed=seed, clock=executor.clock)
    Loop(study, executor, lambda config: None, rules).run()
    return study, executor


def record(study):
    return [
        (trial.number, trial.state.name, trial.params, trial.values, trial.intermediate_values)
        for trial in study.trials
    ]


PRUNERS = {
    "none": lambda: None,
    "asha": lambda: ASHA(27, reduction_factor=3),
    "promotion": lambda: ASHA(27, reduction_factor=3, promote=True),
    "median": MedianStopping,
    "hyperband": lambda: tune.pruners.HyperBand(27),
}


@pytest.mark.parametrize("name", PRUNERS)
def test_the_same_seed_gives_the_same_run_to_the_last_bit(name):
    trouble = {"straggle": 0.5, "drop_rate": 0.02, "startup": 0.3, "checkpoint_cost": 0.1, "max_failures": 2}
    first, executor = simulate(PRUNERS[name](), seed=3, **trouble)
    again, executor_again = simulate(PRUNERS[name](), seed=3, **trouble)
    assert record(first) == record(again)
    assert executor.clock.monotonic() == executor_again.clock.monotonic()
    other, _ = simulate(PRUNERS[name](), seed=4, **trouble)
    assert record(first) != record(other)
    assert all(trial.state.is_finished() for trial in first.trials)


@pytest.mark.parametrize("name", ["asha", "promotion", "median", "hyperband"])
def test_pruners_save_virtual_time(name):
    _, full = simulate(None)
    study, pruned = simulate(PRUNERS[name]())
    assert pruned.clock.monotonic() < 0.7 * full.clock.monotonic()
    assert any(trial.state.name == "COMPLETE" and max(trial.intermediate_values) == 27 for trial in study.trials)


def test_every_worker_is_kept_busy():
    _, executor = simulate(None, n_trials=10)
    assert executor.clock.monotonic() == 2 * 27


def test_resumed_trials_start_over_without_checkpoints_and_record_no_step_twice():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tune.errors.TuneflowWarning)
        slow, late = simulate(PRUNERS["promotion"](), checkpoints=False)
    fast, early = simulate(PRUNERS["promotion"]())
    assert late.clock.monotonic() > early.clock.monotonic()
    assert next(sorted(trial.intermediate_values) for trial in fast.trials if trial.state.name == "COMPLETE") == list(
        range(1, 28)
    )
    assert all(sorted(t.intermediate_values) == list(range(1, len(t.intermediate_values) + 1)) for t in slow.trials)


def test_lost_trials_go_on_from_their_checkpoint():
    study, executor = simulate(
        None, n_trials=5, drop_rate=0.1, max_failures=-1, checkpoint_freq=2, curve=lambda config, step: 1 / step
    )
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 5
    assert all(len(trial.intermediate_values) == 27 for trial in study.trials)
    assert 27 < executor.clock.monotonic() < 2 * 27


def test_the_name_takes_the_trainable_for_the_curve():
    executor = from_name(total=tune.Resources(cpu=3.0), default_kind="config")
    executor.prepare(learn, "key")
    assert executor.total().cpu == 3
    executor.start(Assignment(trial=0, config={"x": 0.0, "y": 0.0}))
    (event,) = executor.poll(None)
    assert 0.9 < event.metrics < 1.1


def test_simulation_needs_no_files():
    study, _ = simulate(PRUNERS["promotion"]())
    assert study.folders.is_temporary
    assert study.folders._root is None or not any(study.folders.root.iterdir())
