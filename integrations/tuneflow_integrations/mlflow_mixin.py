"""``@mlflow_mixin``: the trial's own MLflow run, open inside the trial for plain ``mlflow.log_metric``."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import mlflow

from tuneflow.clock import SystemClock
from tuneflow.errors import InvalidArgumentType, UsageError
from tuneflow.plain import without_passwords
from tuneflow.pruners.base import Exploit, Pause, Stop
from tuneflow.trainable import Trainable
from tuneflow.trainable.session import TrialInterrupt, current, is_inside
from tuneflow_integrations.mlflow_names import Names, params_of, text_of
from tuneflow_integrations.mlflow_place import FOLDER, Place
from tuneflow_integrations.mlflow_sender import PARENT, MlflowSender
from tuneflow_integrations.spool import Spool

__all__ = ["mlflow_mixin"]

_T = TypeVar("_T")
# How a trial leaves: the status of its run and the state in its tag.
_DONE, _FAILED, _PRUNED, _PAUSED = (
    ("FINISHED", "COMPLETE"),
    ("FAILED", "FAIL"),
    ("KILLED", "PRUNED"),
    ("KILLED", "PAUSED"),
)
_RUNNING = ("RUNNING", "RUNNING")


def mlflow_mixin(trainable: _T) -> _T:
    """Opens the trial's MLflow run around a function or a ``Trainable`` class.

    Inside, MLflow's plain functions log to that run: ``mlflow.log_metric("acc", 0.9, step=3)``,
    ``mlflow.log_artifact``, ``mlflow.pytorch.autolog()``. Where to is said by ``config["mlflow"]`` (``tracking_uri``,
    ``experiment_name``, ``tags``), else by MLflow's environment variables. The run is the one that ``MLflowLogger`` has
    for the trial, where that is in use too; it goes on after a pause or a retry. Called outside a trial, the function
    runs as it is.

    MLflow's functions look at one tracking URI per process. It is set while the trial runs and put back after it;
    a second study in the same process and at the same time, with another URI, is refused.

    Args:
        trainable: ``train(config)``, ``objective(trial)``, a generator, or a ``Trainable`` class.

    Returns:
        The same kind of trainable.

    Raises:
        InvalidArgumentType: it is neither a function nor a ``Trainable`` class.
        TrackingUnavailable: inside the trial, where the server does not answer: unlike the logger, which can wait,
            what is logged from within needs it at once.

    Example:
        >>> @mlflow_mixin
        ... def train(config):
        ...     mlflow.log_metric("loss", config["x"])
        ...     return {"loss": config["x"]}
        >>> import inspect
        >>> list(inspect.signature(train).parameters)
        ['config']
    """
    if isinstance(trainable, type) and issubclass(trainable, Trainable):
        return _mixed_class(trainable)  # type: ignore[return-value]
    if not callable(trainable) or isinstance(trainable, type):
        raise InvalidArgumentType(f"mlflow_mixin({trainable!r}) needs a function or a subclass of tuneflow.Trainable")
    function: Callable[..., Any] = trainable
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generate(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with _own_run():
                yield from function(*args, **kwargs)

        return generate  # type: ignore[return-value]

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with _own_run():
            return function(*args, **kwargs)

    return run  # type: ignore[return-value]


def _mixed_class(base: type[Trainable]) -> type[Trainable]:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        with ExitStack() as stack:
            stack.enter_context(_own_run())
            base.__init__(self, *args, **kwargs)
            self._mlflow_run = stack.pop_all()  # stays open for the steps

    def cleanup(self: Any) -> None:
        error = sys.exc_info()[1]  # what ends the trial, on its way through here
        try:
            base.cleanup(self)
        finally:
            self._mlflow_run.__exit__(None if error is None else type(error), error, None)

    body = {"__init__": __init__, "cleanup": cleanup, "__module__": base.__module__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), {**body, "__qualname__": base.__qualname__})


@contextmanager
def _own_run() -> Iterator[None]:
    """The run of the trial that runs here, as MLflow's active one; nothing outside a trial."""
    if not is_inside():
        yield
        return
    session = current("mlflow_mixin")
    info = session.info
    place = Place.of(info.experiment, session.assignment.sections.get("mlflow"))
    sender = _sender_for(place, Path(info.dir).parent, info.experiment)
    run_id = _opened(sender, info.number, info.config)
    leave = _FAILED
    try:
        with _active(place.uri, run_id):
            try:
                yield
                leave = _left(session.decision)
            except TrialInterrupt as interrupt:
                leave = _left(interrupt.decision)
                raise
            except Exception as error:
                leave = _PRUNED if type(error).__name__ == "TrialPruned" else _FAILED
                raise
    finally:
        _closed(sender, run_id, leave)


def _left(decision: Any) -> tuple[str, str]:
    """How a trial leaves that was answered this last."""
    if isinstance(decision, Exploit):
        return _RUNNING
    if isinstance(decision, Pause):
        return _PAUSED
    return _PRUNED if isinstance(decision, Stop) and not decision.complete else _DONE


def _sender_for(place: Place, folder: Path, study_name: str) -> MlflowSender:
    """Shares the book of runs with the logger and with the other trials."""
    spool = Spool(folder / FOLDER / place.spool_name)
    if not spool.target:
        target = {
            "uri": place.safe_uri,
            "experiment": place.experiment,
            "study": study_name,
            "key": os.urandom(16).hex(),
        }
        names = Names()
        tags = {"tuneflow.study": study_name, **{names.of(tag): value for tag, value in place.tags.items()}}
        spool.claim_target({**target, "is_shared": False, "tags": tags})
    return MlflowSender(spool, place.uri)


def _opened(sender: MlflowSender, number: int, config: dict[str, Any]) -> str:
    with sender.explained():
        run_id = sender.run_id(str(number), _now_ms())
        noted = f"params:{number}"
        params: dict[str, str] = {}
        if sender.book.id_of(noted) is None:  # a trial that was told to exploit has others now; the first ones stay
            names = Names()
            params = {names.of(key): text_of(value) for key, value in params_of(config).items()}
        sender.log(run_id, params=params, tags={"tuneflow.state": "RUNNING"})
        sender.book.note(noted, run_id)
    return run_id


def _closed(sender: MlflowSender, run_id: str, leave: tuple[str, str]) -> None:
    status, state = leave
    with sender.explained():
        sender.log(run_id, tags={"tuneflow.state": state})
        sender.end(run_id, status, _now_ms())
        if not sender.spool.n_entries_bytes:  # no logger, which would end the study's run itself
            sender.end(sender.run_id(PARENT), "FINISHED", _now_ms())


def _now_ms() -> int:
    return int(SystemClock().time() * 1000)


# MLflow's active run

_lock = threading.Lock()
_users: dict[str, int] = {}
_before: dict[str, str | None] = {}
_VARIABLES = (
    "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_RUN_ID",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT",
)  # fmt: skip


@contextmanager
def _active(uri: str, run_id: str) -> Iterator[None]:
    """Makes the run the active one of this thread, and the URI that of the process while anybody needs it."""
    _enter(uri)
    try:
        mlflow.start_run(run_id=run_id)
        try:
            yield
        finally:
            mlflow.end_run("RUNNING")  # what it really is, is said afterwards
    finally:
        _leave(uri)


def _enter(uri: str) -> None:
    with _lock:
        others = [other for other in _users if other != uri]
        if others:
            raise UsageError(
                f"mlflow_mixin: another study logs to {without_passwords(others[0])} from this process now, and "
                f"MLflow's functions know one tracking URI per process, not also {without_passwords(uri)}; run trials "
                f"in processes (the default of tune.run), or use MLflowLogger, which serves any number of servers"
            )
        _users[uri] = _users.get(uri, 0) + 1
        if _users[uri] > 1:
            return
        _before.update({name: os.environ.get(name) for name in _VARIABLES})
        _before["uri"] = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
        parts = urlsplit(uri)
        if parts.password is not None and parts.scheme in ("http", "https"):
            # Apart from the address, so that no message of MLflow's shows them.
            os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
            os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
            uri = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        os.environ.pop("MLFLOW_RUN_ID", None)  # the driver's, of which a trial knows nothing
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        mlflow.set_tracking_uri(uri)


def _leave(uri: str) -> None:
    with _lock:
        _users[uri] -= 1
        if _users[uri]:
            return
        del _users[uri]
        mlflow.set_tracking_uri(_before.pop("uri"))
        for name in _VARIABLES:
            value = _before.pop(name)
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
