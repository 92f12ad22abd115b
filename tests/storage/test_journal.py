"""The journal file: what is read back, by whom, and what it costs."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState

from tuneflow.errors import InvalidArgument, JournalNotWritten, UsageError
from tuneflow.storage import Journal, JournalBackend
from tuneflow.storage.records import decode_line, encode_line


def record(i: int, **more: Any) -> dict[str, Any]:
    return {"op_code": 7, "worker_id": "w", "trial_id": 0, "step": i, "intermediate_value": float(i), **more}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "study.log")


@pytest.fixture
def backend(path: str) -> Iterator[JournalBackend]:
    backend = JournalBackend(path)
    yield backend
    backend.close()


class CountingReads:
    """Counts the records that a backend takes from its file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n = 0

        def decode(line: bytes) -> dict[str, Any]:
            self.n += 1
            return decode_line(line)

        monkeypatch.setattr("tuneflow.storage.journal.decode_line", decode)


# What is handed back


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_a_record_is_handed_back_as_a_fresh_reader_finds_it(backend: JournalBackend, value: Any) -> None:
    start = len(list(backend.read_logs(0)))
    backend.append_logs([{"op_code": 8, "worker_id": "w", "trial_id": 0, "user_attr": {"key": value}}])
    (own,) = backend.read_logs(start)
    fresh = JournalBackend(backend.path)
    assert own == next(iter(fresh.read_logs(start)))
    assert repr(own) == repr(next(iter(fresh.read_logs(start))))  # types too: 1 == 1.0 == True
    fresh.close()


def test_tuples_and_integer_keys_become_what_json_makes_of_them(backend: JournalBackend) -> None:
    backend.append_logs([{"op_code": 8, "worker_id": "w", "trial_id": 0, "user_attr": {"a": {1: (1, 2)}}}])
    (own,) = backend.read_logs(0)
    assert own["user_attr"] == {"a": {"1": [1, 2]}}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(st.tuples(st.sampled_from(["own", "optuna", "other"]), st.integers(1, 3)), max_size=12))
def test_every_reader_sees_every_record_once_and_in_one_order(
    tmp_path_factory: pytest.TempPathFactory, script: list[tuple[str, int]]
) -> None:
    path = str(tmp_path_factory.mktemp("j") / "study.log")
    own, other = JournalBackend(path), JournalBackend(path)
    writers = {"own": own, "other": other, "optuna": JournalFileBackend(path)}
    seen: list[dict[str, Any]] = []
    expected = []
    for who, n in script:
        new = [record(len(expected) + i) for i in range(n)]
        writers[who].append_logs(new)
        expected += new
        if n != 2:
            seen += own.read_logs(len(seen))
    seen += own.read_logs(len(seen))
    assert seen == expected
    assert list(other.read_logs(0)) == expected
    for number in range(len(expected) + 1):
        assert list(own.read_logs(number)) == expected[number:]
    own.close()
    other.close()


def test_own_records_are_not_read_from_the_file(backend: JournalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = CountingReads(monkeypatch)
    for i in range(50):
        backend.append_logs([record(i)])
        assert [r["step"] for r in backend.read_logs(i)] == [i]
    assert reads.n == 0
    assert list(backend.read_logs(50)) == []
    assert len(list(backend.read_logs(0))) == 50
    assert reads.n == 50


def test_going_back_reads_from_the_nearest_mark_and_not_from_the_start(
    backend: JournalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.append_logs([record(i) for i in range(5000)])
    assert len(list(backend.read_logs(5000))) == 0
    reads = CountingReads(monkeypatch)
    assert [r["step"] for r in backend.read_logs(4990)] == list(range(4990, 5000))
    assert reads.n <= 1024
    assert [r["step"] for r in backend.read_logs(1)] == list(range(1, 5000))


def test_marks_are_the_same_for_who_wrote_and_who_read(path: str) -> None:
    writer = JournalBackend(path)
    for start in range(0, 3000, 500):
        writer.append_logs([record(i) for i in range(start, start + 500)])
    reader = JournalBackend(path)
    assert len(list(reader.read_logs(0))) == 3000
    assert writer._marks == reader._marks
    assert len(reader._marks) == 3
    assert (writer._size, writer._count) == (reader._size, reader._count)
    writer.close()
    reader.close()


def test_what_nobody_reads_is_not_kept(backend: JournalBackend) -> None:
    for start in range(0, 10_000, 100):
        backend.append_logs([record(i) for i in range(start, start + 100)])
    assert len(backend._own) <= 4200
    assert [r["step"] for r in backend.read_logs(0)] == list(range(10_000))


def test_a_line_longer_than_a_block_is_read(backend: JournalBackend, path: str) -> None:
    text = "x" * (5 << 20)
    backend.append_logs(
        [record(0), {"op_code": 8, "worker_id": "w", "trial_id": 0, "user_attr": {"a": text}}, record(1)]
    )
    fresh = JournalBackend(path)
    assert list(fresh.read_logs(0))[1]["user_attr"]["a"] == text
    fresh.close()


def test_no_records_write_nothing(backend: JournalBackend, path: str) -> None:
    backend.append_logs([])
    assert Path(path).stat().st_size == 0


def test_a_record_without_a_form_in_json_is_refused_and_leaves_no_trace(path: str) -> None:
    with Journal(path) as storage:
        study_id = storage.create_new_study([StudyDirection.MINIMIZE])
        size = Path(path).stat().st_size
        with pytest.raises(TypeError):
            storage.set_study_user_attr(study_id, "a", object())
        assert Path(path).stat().st_size == size
        assert storage.get_study_user_attrs(study_id) == {}


# Together with Optuna


def run_study(storage: optuna.storages.BaseStorage, n_trials: int) -> optuna.Study:
    study = optuna.create_study(
        study_name="s", storage=storage, load_if_exists=True, sampler=optuna.samplers.RandomSampler(seed=1)
    )

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.suggest_categorical("kind", ["a", "b"])
        trial.report(x, 1)
        trial.set_user_attr("tuple", (1, {"deep": [None, True]}))
        return x

    study.optimize(objective, n_trials=n_trials)
    return study


def test_optuna_reads_the_file_while_a_study_runs(path: str) -> None:
    with Journal(path) as storage:
        ours = run_study(storage, 3)
        reader = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(path)))
        assert reader.trials == ours.trials
        ours = run_study(storage, 2)
        assert len(reader.trials) == 5
        assert reader.trials == ours.trials


def test_optuna_and_tuneflow_take_turns_in_one_file(path: str) -> None:
    theirs = JournalStorage(JournalFileBackend(path))
    with Journal(path) as ours:
        for _ in range(3):
            run_study(theirs, 2)
            run_study(ours, 2)
        assert len(ours.get_all_trials(0)) == 12
        assert ours.get_all_trials(0) == theirs.get_all_trials(0)
    assert {"crc" in json.loads(line) for line in Path(path).read_text().splitlines()} == {True, False}


def test_the_file_is_optunas_but_for_the_checksum(path: str, tmp_path: Path) -> None:
    with Journal(path) as storage:
        run_study(storage, 2)
    records = list(JournalBackend(path).read_logs(0))
    theirs = JournalFileBackend(str(tmp_path / "theirs.log"))
    theirs.append_logs(records)
    lines = (tmp_path / "theirs.log").read_bytes().splitlines()
    assert [line[:-18] + b"}" for line in Path(path).read_bytes().splitlines()] == lines


def test_several_studies_live_in_one_file(path: str) -> None:
    with Journal(path) as storage:
        for name in "ab":
            study = optuna.create_study(study_name=name, storage=storage)
            study.enqueue_trial({"x": 1})
            study.tell(study.ask(), 1.0 if name == "a" else 2.0)
        optuna.delete_study(study_name="a", storage=storage)
    with Journal(path) as storage:
        assert optuna.load_study(study_name="b", storage=storage).best_value == 2.0
        with pytest.raises(KeyError):
            storage.get_all_trials(0)


# Cheap answers


def test_asking_for_waiting_trials_touches_only_those(path: str) -> None:
    with Journal(path) as storage:
        study = optuna.create_study(storage=storage)
        for _ in range(200):
            study.tell(study.ask(), 0.0)
        for x in (1, 2):
            study.enqueue_trial({"x": x})
        running = study.ask()

        class Touched(list[Any]):
            n = 0

            def __getitem__(self, key: Any) -> Any:
                Touched.n += 1
                return super().__getitem__(key)

            def __iter__(self) -> Any:
                Touched.n += 1000
                return super().__iter__()

        index = storage._replay_result.index(0)
        index.trials = Touched(index.trials)
        assert [t.number for t in storage.get_all_trials(0, deepcopy=False, states=(TrialState.WAITING,))] == [201]
        assert [t.number for t in storage.get_all_trials(0, states=[TrialState.RUNNING])] == [running.number]
        assert storage.get_n_trials(0, TrialState.COMPLETE) == 200
        assert Touched.n == 2


state_changes = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(TrialState))), max_size=25)


@settings(max_examples=40, deadline=None)
@given(changes=state_changes, maximize=st.booleans(), values=st.lists(st.integers(-2, 2), min_size=25, max_size=25))
def test_the_index_agrees_with_optunas_own_storage(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, TrialState]], maximize: bool, values: list[int]
) -> None:
    path = str(tmp_path_factory.mktemp("j") / "study.log")
    waiting = optuna.trial.create_trial(state=TrialState.WAITING)
    with Journal(path) as ours:
        direction = StudyDirection.MAXIMIZE if maximize else StudyDirection.MINIMIZE
        study_id = ours.create_new_study([direction])
        ids = [ours.create_new_trial(study_id, waiting if i % 2 else None) for i in range(6)]
        for (i, state), value in zip(changes, values, strict=False):
            try:
                ours.set_trial_state_values(ids[i], state, [float(value)] if state is TrialState.COMPLETE else None)
            except optuna.exceptions.UpdateFinishedTrialError:
                pass
        with Journal(path) as reopened:
            theirs = JournalStorage(JournalFileBackend(path))
            for storage in (ours, reopened):
                for states in (None, *[(s,) for s in TrialState], [TrialState.RUNNING, TrialState.WAITING]):
                    expected = theirs.get_all_trials(study_id, states=states)
                    assert storage.get_all_trials(study_id, states=states) == expected
                    assert storage.get_n_trials(study_id, states and tuple(states)) == len(expected)
                if theirs.get_n_trials(study_id, TrialState.COMPLETE):
                    assert storage.get_best_trial(study_id) == theirs.get_best_trial(study_id)
                else:
                    with pytest.raises(ValueError, match="completed"):
                        storage.get_best_trial(study_id)


def test_equal_distributions_are_one_object(path: str) -> None:
    with Journal(path) as storage:
        study = run_study(storage, 2)
        first, second = study.get_trials(deepcopy=False)
        assert first.distributions["x"] is second.distributions["x"]


def test_an_incompatible_distribution_is_refused_to_its_writer_and_passed_over_by_others(path: str) -> None:
    with Journal(path) as storage, Journal(path) as other:
        study_id = storage.create_new_study([StudyDirection.MINIMIZE])
        first, second = storage.create_new_trial(study_id), storage.create_new_trial(study_id)
        storage.set_trial_param(first, "x", 0.5, optuna.distributions.FloatDistribution(0, 1))
        with pytest.raises(ValueError, match="kind"):
            storage.set_trial_param(second, "x", 1, optuna.distributions.IntDistribution(0, 1))
        assert other.get_trial(second).params == {}
        assert other.get_trial(first).params == {"x": 0.5}


# Opening, closing, syncing


def test_records_are_synced_within_the_interval_and_in_groups(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = threading.Event()
    calls: list[float] = []

    def sync(fd: int) -> None:
        calls.append(time.perf_counter())
        synced.set()

    monkeypatch.setattr("tuneflow.storage.syncing._sync_to_disk", sync)
    backend = JournalBackend(path, sync_interval_s=0.02)
    assert backend._sync._thread is None
    for i in range(100):
        backend.append_logs([record(i)])
    assert synced.wait(5)
    assert len(calls) < 10
    backend.flush()
    n = len(calls)
    backend.flush()
    assert len(calls) == n  # nothing new, nothing to do
    backend.append_logs([record(0)])
    thread = backend._sync._thread
    assert thread is not None
    backend.close()
    assert len(calls) > n
    assert not thread.is_alive()


def test_an_interval_of_zero_syncs_every_append(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("tuneflow.storage.syncing._sync_to_disk", calls.append)
    backend = JournalBackend(path, sync_interval_s=0)
    for i in range(3):
        backend.append_logs([record(i)])
        assert len(calls) == i + 1
    backend.close()


def test_a_sync_that_fails_is_told_once_to_the_next_caller(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def sync(fd: int) -> None:
        failed.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("tuneflow.storage.syncing._sync_to_disk", sync)
    backend = JournalBackend(path, sync_interval_s=0.001)
    backend.append_logs([record(0)])
    assert failed.wait(5)
    while backend._sync.error is None:
        time.sleep(0.001)
    monkeypatch.setattr("tuneflow.storage.syncing._sync_to_disk", lambda fd: None)
    with pytest.raises(JournalNotWritten, match="Input/output error") as raised:
        backend.append_logs([record(1)])
    assert raised.value.errno == errno.EIO
    assert pickle.loads(pickle.dumps(raised.value)).errno == errno.EIO
    backend.append_logs([record(1)])
    assert [r["step"] for r in backend.read_logs(0)] == [0, 1]
    backend.close()


def test_closing_tells_what_the_disk_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    backend = JournalBackend(path, sync_interval_s=60)
    backend.append_logs([record(0)])
    monkeypatch.setattr("tuneflow.storage.syncing._sync_to_disk", sync)
    with pytest.raises(JournalNotWritten, match="may be lost"):
        backend.flush()
    backend.append_logs([record(1)])
    with pytest.raises(JournalNotWritten, match="may be lost"):
        backend.close()
    backend.close()


def test_a_file_system_without_locks_is_named(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("tuneflow.storage.journal.lock_file", refuse)
    with Journal(path) as storage, pytest.raises(UsageError, match="cannot lock files"):
        storage.create_new_study([StudyDirection.MINIMIZE])


def test_the_interpreters_exit_syncs(path: str) -> None:
    script = (
        "import sys, os\n"
        "from tuneflow.storage import JournalBackend, syncing\n"
        "syncing._sync_to_disk = lambda fd: os.write(1, b'synced')\n"
        "backend = JournalBackend(sys.argv[1], sync_interval_s=60)\n"
        "backend.append_logs([{'op_code': 1, 'worker_id': 'w', 'study_id': 0}])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"synced"
    assert done.stderr == b""


def test_a_closed_journal_says_so(path: str) -> None:
    storage = Journal(path)
    storage.create_new_study([StudyDirection.MINIMIZE])
    storage.close()
    storage.close()
    with pytest.raises(UsageError, match="closed"):
        storage.get_all_studies()
    with pytest.raises(UsageError, match="closed"):
        storage.create_new_study([StudyDirection.MINIMIZE])


def test_a_file_that_vanishes_or_shrinks_is_noticed(path: str) -> None:
    with Journal(path) as storage:
        storage.create_new_study([StudyDirection.MINIMIZE])
        os.truncate(path, 10)
        with pytest.raises(UsageError, match="shortened"):
            storage.get_all_studies()
    Path(path).unlink()
    with Journal(path) as storage:
        Path(path).unlink()
        with pytest.raises(UsageError, match="deleted"):
            storage.create_new_study([StudyDirection.MINIMIZE])


def test_a_read_only_journal_can_be_read(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(path) as storage:
        run_study(storage, 2)
    plain_open = os.open

    def refuse(name: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        if flags & os.O_RDWR and str(name) == path:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return plain_open(name, flags, mode, **more)

    monkeypatch.setattr(os, "open", refuse)
    with Journal(path) as storage:
        assert storage.get_n_trials(0) == 2
        with pytest.raises(UsageError, match="read-only"):
            storage.create_new_trial(0)
        assert storage.get_n_trials(0) == 2


@pytest.mark.parametrize("interval_s", [-1, float("nan")])
def test_a_wrong_interval_is_refused_before_the_file_is_made(path: str, interval_s: float) -> None:
    with pytest.raises(InvalidArgument, match="sync_interval_s"):
        JournalBackend(path, sync_interval_s=interval_s)
    assert not Path(path).exists()


def test_a_pickled_storage_goes_on_with_the_same_file(path: str) -> None:
    with Journal(path, sync_interval_s=0.5) as storage:
        study_id = storage.create_new_study([StudyDirection.MINIMIZE])
        with pickle.loads(pickle.dumps(storage)) as copied:
            trial_id = copied.create_new_trial(study_id)
            assert copied._backend.sync_interval_s == 0.5
            assert copied.path == storage.path
            assert storage.get_trial(trial_id).state is TrialState.RUNNING
            assert storage.create_new_trial(study_id) == trial_id + 1


def test_a_line_is_what_was_encoded() -> None:
    line = encode_line(record(3))
    assert line.endswith(b'"}\n')
    assert decode_line(line[:-1]) == record(3)


def test_closing_at_any_moment_ends_the_thread(tmp_path: Path) -> None:
    # Around the end of the interval, where a wake-up could get lost between the thread's two waits.
    for i in range(60):
        backend = JournalBackend(tmp_path / f"{i}.log", sync_interval_s=0.002)
        backend.append_logs([record(0)])
        thread = backend._sync._thread
        assert thread is not None
        time.sleep(0.0015 + i * 2e-5)
        closer = threading.Thread(target=backend.close, daemon=True)
        closer.start()
        closer.join(10)
        assert not closer.is_alive()
        assert not thread.is_alive()


def test_a_forgotten_journal_is_closed_and_its_thread_ends(path: str) -> None:
    backend = JournalBackend(path, sync_interval_s=60)
    backend.append_logs([record(0)])
    sync = backend._sync
    del backend
    assert sync._thread is not None
    sync._thread.join(10)
    assert not sync._thread.is_alive()
    assert not sync._is_dirty
