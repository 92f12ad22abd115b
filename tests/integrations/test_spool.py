"""The spool: whatever is killed when, and whatever the disk does, no entry is lost and all come in order."""

from __future__ import annotations

import errno
import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneflow.errors import LogNotWritten, TrackingUnavailable
from tuneflow_integrations.shipping import Shipper
from tuneflow_integrations.spool import RunBook, Spool


def drain(spool: Spool, limit_bytes: int = 1_000_000) -> list[dict]:
    found = []
    while spool.n_unsent_bytes:
        entries, end = spool.read(limit_bytes)
        if not entries and end == spool.n_sent_bytes:
            break
        found += entries
        spool.mark_sent(end)
    return found


texts = st.text(st.characters(codec="utf-8"), max_size=20)
entries = st.lists(st.fixed_dictionaries({"run": texts, "metrics": st.dictionaries(texts, st.floats(allow_nan=False))}))


@settings(max_examples=40)
@given(first=entries, second=entries, cut=st.integers(0, 40), limit=st.integers(20, 200))
def test_a_torn_end_costs_one_entry_and_the_rest_comes_in_order(tmp_path_factory, first, second, cut, limit):
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder)
    for entry in first:
        spool.append(entry)
    spool.close()
    path = folder / "entries.jsonl"
    size = path.stat().st_size if path.exists() else 0
    if cut and size:
        with path.open("r+b") as file:
            file.truncate(max(0, size - cut))
    whole = path.read_bytes().count(b"\n") if size else 0
    again = Spool(folder)
    for entry in second:
        again.append(entry)
    assert drain(again, limit) == first[:whole] + second
    assert list(again.all_entries()) == first[:whole] + second
    again.close()


def test_what_was_sent_is_known_to_the_next_process(tmp_path):
    spool = Spool(tmp_path)
    spool.append({"run": "0"})
    assert drain(spool) == [{"run": "0"}]
    spool.append({"run": "1"})
    spool.close()
    assert drain(Spool(tmp_path)) == [{"run": "1"}]


def test_a_full_disk_holds_entries_back(tmp_path, monkeypatch):
    spool = Spool(tmp_path)
    spool.append({"run": "0"})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        for run in "12":
            with pytest.raises(LogNotWritten):
                spool.append({"run": run})
    spool.append({"run": "3"})
    assert [entry["run"] for entry in drain(spool)] == ["0", "1", "2", "3"]
    spool.close()


@pytest.mark.parametrize("killed_after", ["unlink", "replace", "nothing"])
def test_compacting_never_skips_what_comes_later(tmp_path, monkeypatch, killed_after):
    spool = Spool(tmp_path)
    for run in range(20):
        spool.append({"run": str(run)})
    drain(spool)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if killed_after == "unlink":
            patch.setattr("tuneflow_integrations.spool.replace_file", killed)
        elif killed_after == "replace":
            patch.setattr(Spool, "mark_sent", killed)
        if killed_after == "nothing":
            spool.compact([{"known": "0"}])
        else:
            with pytest.raises(KeyboardInterrupt):
                spool.compact([{"known": "0"}])
    spool = Spool(tmp_path)
    spool.append({"run": "new"})
    found = drain(spool)
    assert found[-1] == {"run": "new"}
    assert found[:-1] == {
        "unlink": [{"run": str(run)} for run in range(20)], "replace": [{"known": "0"}], "nothing": []
    }[killed_after]  # fmt: skip
    spool.close()


def test_one_sender_at_a_time(tmp_path):
    one, other = Spool(tmp_path), Spool(tmp_path)
    with one.sending() as first, other.sending() as second:
        assert (first, second) == (True, False)
    with other.sending() as now:
        assert now


def test_kept_files_outlive_their_source_and_leave_no_folder(tmp_path):
    spool = Spool(tmp_path / "spool")
    source = tmp_path / "checkpoint"
    source.mkdir()
    (source / "weights").write_text("w")
    (source / ".tuneflow.json").write_text("{}")
    name = spool.keep_file(source, "00001/checkpoint")
    (source / "weights").unlink()
    kept = spool.folder / name
    assert [path.name for path in kept.iterdir()] == ["weights"]
    assert (kept / "weights").read_text() == "w"
    spool.drop_file(name)
    assert list((spool.folder / "files").iterdir()) == []


def test_the_first_target_stays(tmp_path):
    assert Spool(tmp_path).claim_target({"key": "a"}) == {"key": "a"}
    assert Spool(tmp_path).claim_target({"key": "b"}) == {"key": "a"}
    assert [path.name for path in tmp_path.iterdir()] == ["target.json"]


def test_a_book_of_runs_is_shared_and_survives_a_torn_line(tmp_path):
    one, other = RunBook(tmp_path), RunBook(tmp_path)
    one.intend("3")
    assert (other.id_of("3"), other.is_intended("3"), other.is_intended("4")) == (None, True, False)
    with (tmp_path / "runs.jsonl").open("ab") as file:
        file.write(b'{"name": "5", "id"')
    other.note("3", "abc")
    assert one.id_of("3") == "abc"
    assert not one.is_intended("5")


# The thread


def test_a_shipper_tries_again_and_says_so_once(caplog):
    sent = threading.Event()
    answers = iter([TrackingUnavailable("http://host", "down")] * 2)

    def send() -> int:
        error = next(answers, None)
        if error is not None:
            raise error
        sent.set()
        return 1

    shipper = Shipper(send, interval_s=0.0, hint="It is kept.")
    shipper._pause_s = 0.01
    shipper.wake()
    assert sent.wait(10)
    assert shipper.close(10)
    assert caplog.text.count("cannot be used now: down. It is kept.") == 1


def test_a_shipper_that_hangs_does_not_hold_up_its_end():
    free = threading.Event()
    shipper = Shipper(lambda: int(free.wait(30)), interval_s=0.0)
    shipper.wake()
    start_s = time.monotonic()
    assert not shipper.close(0.1)
    assert time.monotonic() - start_s < 5
    free.set()
    assert shipper.close(10)


def test_a_shipper_that_was_never_woken_has_no_thread():
    before = set(threading.enumerate())
    shipper = Shipper(lambda: 1)
    assert shipper.close(0.0)
    assert set(threading.enumerate()) <= before


def test_an_entry_is_one_line(tmp_path):
    spool = Spool(tmp_path)
    spool.append({"run": "a\nb\r\u2028c"})
    (line,) = Path(tmp_path / "entries.jsonl").read_bytes().splitlines()
    assert json.loads(line) == {"run": "a\nb\r\u2028c"}
    spool.close()
