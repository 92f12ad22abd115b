"""The worker process: serves trial after trial over one pipe. Imports nothing that a trial does not need."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from tuneflow.errors import UsageError
from tuneflow.gpu_share import limit_memory
from tuneflow.runner.events import pack_event
from tuneflow.runner.leftovers import clear, is_cuda_broken
from tuneflow.runner.output import OutputFiles, last_output
from tuneflow.runner.surroundings import Surroundings
from tuneflow.trainable.messages import Assignment, Event, Failed, Finished
from tuneflow.trainable.running import failure, kind_of, run
from tuneflow.trainable.session import Session

__all__ = ["main"]


class _Pipe:
    """The trial's channel over the worker's connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # a trial may report from threads of its own
        self._pid = os.getpid()

    def ask(self, event: Event) -> Any:
        with self._lock:
            self.send(event)
            answer = self._connection.recv()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def receive(self) -> Any:
        with self._lock:
            return self._connection.recv()

    def send(self, event: Event) -> None:
        if os.getpid() != self._pid:
            raise UsageError("a process that a trial has forked cannot report; report from the trial itself")
        self._connection.send_bytes(pack_event(event))


def _watch(parent: int, output: OutputFiles) -> None:
    """Ends everything here when the driver is gone: nobody would read what it finds. Moves output on meanwhile."""
    while os.getppid() == parent:
        time.sleep(0.5)
        output.tick()
    _end_all()


def _end_all() -> None:
    """Ends this process, its group, and what the trial has started in sessions of its own.

    The keeper of a program is left to do the same there, with notice.
    """
    from tuneflow.runner.exits import descendants, end_all

    end_all(descendants(os.getpid()).others)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _sendable(event: Finished | Failed) -> Finished | Failed:
    """The closing event in a form that crosses the pipe: what cannot be pickled is described instead."""
    import cloudpickle

    try:
        pickle.loads(cloudpickle.dumps(event))
    except Exception as error:
        if isinstance(event, Failed):
            return event._replace(error=None)
        text = f"the trial returned {type(event.value).__name__}, which cannot be sent to the driver: {error}"
        return Failed(event.trial, event.attempt, None, text, "", False)
    return event


def _serve(connection: Connection, output: OutputFiles) -> bool:
    """Until the driver says that it is enough; False where it is gone."""
    pipe = _Pipe(connection)
    pid = os.getpid()
    trainables: dict[str, Any] = {}
    while True:
        try:
            kind, payload = connection.recv()
        except (EOFError, OSError):
            return False
        if kind == "exit":
            return True
        if kind == "tidy":
            output.tidy()
            connection.send(None)
        elif kind == "environment":
            _take_environment(payload)
            limit_memory()
        elif kind == "trainable":
            key, blob = payload
            trainables.clear()
            trainables[key] = blob
        elif kind == "run":
            trial, attempt, default_kind, blob = payload
            leaves_much = True
            try:
                assignment = pickle.loads(blob)
            except Exception as error:
                text = f"the configuration could not be read in the worker process: {type(error).__name__}: {error}"
                event: Finished | Failed = Failed(trial, attempt, None, text, "", False)
            else:
                output.begin(assignment.folder, echo=assignment.echo, has_run=assignment.has_run)
                event = _run(assignment, default_kind, trainables, pipe)
                if isinstance(event, Finished):
                    event = event._replace(is_spent=bool(assignment.gpu) and is_cuda_broken())
                    leaves_much = bool(assignment.gpu or assignment.memory_bytes) and not event.is_spent
                else:
                    leaves_much = not assignment.gpu  # else the driver ends this process, whose CUDA may be broken
                    output.flush()
                    event = event._replace(output=last_output(assignment.folder, pid))
                output.end()
            if os.getpid() != pid:
                os._exit(0)  # a child that the trial forked and that came back from it: the trial is its parent's
            try:
                pipe.send(event if isinstance(event, Finished) and _is_simple(event.value) else _sendable(event))
            except (BrokenPipeError, ConnectionError):
                return False
            if leaves_much:  # the next trial has a right to all of its GPU and memory
                del event
                clear()


def _is_simple(value: Any) -> bool:
    return value is None or type(value) in (float, int, bool, str)


def _run(assignment: Assignment, default_kind: Any, trainables: dict[str, Any], pipe: _Pipe) -> Finished | Failed:
    key = assignment.trainable_key
    try:
        if isinstance(trainables[key], bytes):
            trainables[key] = pickle.loads(trainables[key])
        trainable = trainables[key]
        kind = kind_of(trainable, default=default_kind)
    except Exception as error:
        import traceback

        text = f"the trainable could not be loaded in the worker process: {type(error).__name__}: {error}"
        return Failed(assignment.trial, assignment.attempt, None, text, traceback.format_exc(), False)
    session = Session(assignment, pipe)
    try:
        with Surroundings(shows_hang=not getattr(trainable, "tuneflow_is_program", False)):
            return run(session, trainable, kind)
    except BaseException as error:  # KeyboardInterrupt and its like, raised by the trial's own code
        return failure(session, error)


def _take_environment(given: dict[str, Any]) -> None:
    """Makes modules importable that the driver can import, and relative paths mean what they mean there."""
    sys.path[:] = given["path"]
    sys.argv[:] = given["argv"]
    if given["cwd"]:
        os.chdir(given["cwd"])
    for name in set(os.environ) - set(given["environment"]):
        del os.environ[name]
    os.environ.update(given["environment"])


def main() -> None:
    """Entry point: ``python -m tuneflow.runner.worker FD PARENT``."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(descriptor)
    output = OutputFiles()
    faulthandler.enable()  # what a trial did when it crashed is the last thing that it prints
    threading.Thread(target=_watch, args=(parent, output), daemon=True, name="tuneflow-watch").start()
    has_driver = True
    try:
        has_driver = _serve(connection, output)
    finally:
        output.tidy()
        connection.close()
    if not has_driver:
        _end_all()


if __name__ == "__main__":
    main()
