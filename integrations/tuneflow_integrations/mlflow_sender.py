"""Sends what a spool holds to an MLflow tracking server, in batches. ``MlflowClient`` only, never the fluent API.

Every call means the same when it is made again: MLflow drops a metric that it has with the same value, step and time,
takes a parameter again with the same value, and a run is looked for by its tag before it is made a second time.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus, RunTag, ViewType
from mlflow.exceptions import MlflowException

from tuneflow.errors import TrackingUnavailable
from tuneflow.plain import without_passwords
from tuneflow_integrations.mlflow_names import MAX_PARAM_CHARS, MAX_TAG_CHARS, clip
from tuneflow_integrations.spool import RunBook, Spool

__all__ = ["KEY", "PARENT", "MlflowSender"]

KEY = "tuneflow.key"
"""The tag that names a run of ours, whoever made it: the study's key and the trial's number."""
PARENT = ""
"""The name of the study's own run."""

# With keys of 250 characters and values at their limits a batch stays below MLflow's 1000 entries and 1 MB.
_METRICS_PER_BATCH = 800
_TEXTS_PER_BATCH = 40
_CONNECT_TIMEOUT_S = 3.0
# What the server says of an entry that it will never take. Anything else may be better the next time.
_REFUSALS = frozenset(
    {"BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "MALFORMED_REQUEST", "RESOURCE_ALREADY_EXISTS",
     "RESOURCE_DOES_NOT_EXIST", "MAX_BLOCK_SIZE_EXCEEDED", "REQUEST_SIZE_EXCEEDED"}
)  # fmt: skip
_logger = logging.getLogger("tuneflow")


class _Work:
    """What one batch of entries asks of one run, in the order in which it has to be done."""

    def __init__(self) -> None:
        self.start_ms: int | None = None
        self.metrics: list[Metric] = []
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.references: dict[str, str] = {}  # tags that hold the id of another run, whose name is given
        self.files: list[dict[str, Any]] = []
        self.status: tuple[str, int] | None = None

    def add(self, entry: dict[str, Any]) -> None:
        at_ms = int(entry.get("at", 0))
        if self.start_ms is None:
            self.start_ms = at_ms
        step = entry.get("step", 0)
        self.metrics += [Metric(name, value, at_ms, step) for name, value in entry.get("metrics", {}).items()]
        self.params.update(entry.get("params", {}))
        self.tags.update(entry.get("tags", {}))
        self.references.update(entry.get("references", {}))
        self.files += entry.get("files", ())
        if "status" in entry:
            self.status = (entry["status"], at_ms)


class MlflowSender:
    """Empties a spool.

    Args:
        spool: with its target set.
        uri: the tracking URI, secrets included; the target's by default.
    """

    def __init__(self, spool: Spool, uri: str | None = None) -> None:
        self.spool = spool
        self.target = spool.target
        self.uri = uri if uri is not None else _uri_of(self.target)
        self.book = RunBook(spool.folder)
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._gone: set[str] = set()
        self._said: set[str] = set()
        self._may_have_been_made = bool(self.target.get("is_shared"))

    def drain(self) -> int:
        """Sends all there is.

        Returns:
            The number of entries sent. None are where another process is sending.

        Raises:
            TrackingUnavailable: the server cannot be reached or cannot take anything now; nothing is lost.
        """
        if not self.spool.n_unsent_bytes:
            return 0
        n_sent = 0
        with self.spool.sending() as is_ours, self.explained():
            while is_ours:
                entries, end = self.spool.read()
                if not entries and end == self.spool.n_sent_bytes:
                    break
                self._send(entries)
                self.spool.mark_sent(end)
                n_sent += len(entries)
        return n_sent

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turns whatever goes wrong at the server into ``TrackingUnavailable``, without the passwords in it."""
        try:
            yield
        except TrackingUnavailable:
            raise
        except Exception as error:
            # Neither the message nor the chain of causes may show the password of the URI.
            raise TrackingUnavailable(without_passwords(self.uri), without_passwords(str(error))) from None

    def _send(self, entries: Sequence[dict[str, Any]]) -> None:
        works: dict[str, _Work] = {}
        for entry in entries:
            if "known" not in entry:
                works.setdefault(entry["run"], _Work()).add(entry)
        for name, work in works.items():
            self._send_to(name, work)

    def _send_to(self, name: str, work: _Work) -> None:
        run_id = self.run_id(name, work.start_ms)
        if run_id in self._gone:
            return
        for tag, other in work.references.items():
            work.tags[tag] = self.run_id(other, work.start_ms)
        self.log(run_id, work.metrics, work.params, work.tags)
        for file in work.files:
            self._upload(name, run_id, file)
        if work.status is not None:
            self.end(run_id, *work.status)

    # Runs

    def client(self) -> MlflowClient:
        """The client, once the server answers: without that question MLflow's own retries would hold it for minutes.

        Raises:
            TrackingUnavailable: nobody listens there.
        """
        check_reachable(self.uri)
        if self._client is None:
            self._client = MlflowClient(self.uri)
        return self._client

    def experiment_id(self) -> str:
        """The id of the target's experiment, which is made where it is missing."""
        if not self._experiment_id:
            client, name = self.client(), self.target["experiment"]
            found = client.get_experiment_by_name(name)
            if found is None:
                try:
                    self._experiment_id = client.create_experiment(name)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    found = client.get_experiment_by_name(name)  # somebody else was quicker
            if found is not None and found.lifecycle_stage == "deleted":
                raise TrackingUnavailable(
                    without_passwords(self.uri), f"the experiment {name!r} is deleted; restore it: mlflow experiments "
                    f"restore --experiment-id {found.experiment_id}"
                )  # fmt: skip
            if found is not None:
                self._experiment_id = found.experiment_id
        return self._experiment_id

    def run_id(self, name: str, start_ms: int | None = None) -> str:
        """The run of a trial, by its number, or of the study (``PARENT``). Made where there is none."""
        known = self.book.id_of(name)
        if known is not None:
            return known
        tags = {KEY: f"{self.target['key']}:{name}", **self.target["tags"]}
        label = self.target["study"]
        if name != PARENT:
            tags["mlflow.parentRunId"] = self.run_id(PARENT, start_ms)
            label = f"{label}_{int(name):05d}"
            tags["tuneflow.trial"] = f"{int(name):05d}"
        experiment_id = self.experiment_id()
        with self.book.making():
            return self.book.id_of(name) or self._made(name, experiment_id, label, tags, start_ms)

    def _made(self, name: str, experiment_id: str, label: str, tags: dict[str, str], start_ms: int | None) -> str:
        run_id = None
        if self._may_have_been_made or self.book.is_intended(name):
            run_id = self._find(experiment_id, tags[KEY])
            if name == PARENT and run_id is None:
                self._may_have_been_made = False  # then there are no trials' runs either
        if run_id is None:
            self.book.intend(name)
            run = self.client().create_run(experiment_id, start_time=start_ms, tags=tags, run_name=label)
            run_id = str(run.info.run_id)
        self.book.note(name, run_id)
        return run_id

    def _find(self, experiment_id: str, key: str) -> str | None:
        found = self.client().search_runs(
            [experiment_id], f"tags.`{KEY}` = '{key}'", run_view_type=ViewType.ACTIVE_ONLY, max_results=1
        )
        return str(found[0].info.run_id) if found else None

    def end(self, run_id: str, status: str, at_ms: int) -> None:
        """Sets a run's status."""
        # Not set_terminated, which prints the server's address, passwords included, for every run.
        client, is_over = self.client(), status != "RUNNING"
        store = client._tracking_client.store
        self._unless_refused(
            lambda: store.update_run_info(run_id, RunStatus.from_string(status), at_ms if is_over else None, None),
            run_id,
            f"the status {status}",
        )

    # What goes into them

    def log(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Logs to a run in as few calls as MLflow's limits allow; texts that are too long are cut."""
        own_params = [Param(key, clip(value, MAX_PARAM_CHARS)) for key, value in (params or {}).items()]
        own_tags = [RunTag(key, clip(value, MAX_TAG_CHARS)) for key, value in (tags or {}).items()]
        n_batches = max(
            math.ceil(len(items) / size)
            for items, size in (
                (metrics, _METRICS_PER_BATCH), (own_params, _TEXTS_PER_BATCH), (own_tags, _TEXTS_PER_BATCH),
            )
        )  # fmt: skip
        for i in range(n_batches):
            many, few = (
                slice(i * _METRICS_PER_BATCH, (i + 1) * _METRICS_PER_BATCH),
                slice(i * _TEXTS_PER_BATCH, (i + 1) * _TEXTS_PER_BATCH),
            )
            self._log(run_id, [*own_params[few], *own_tags[few], *metrics[many]])

    def _log(self, run_id: str, items: list[Metric | Param | RunTag]) -> None:
        """One batch. What the server refuses is found by halving it, said once, and left out."""
        if run_id in self._gone or not items:
            return
        try:
            self.client().log_batch(
                run_id,
                metrics=[item for item in items if isinstance(item, Metric)],
                params=[item for item in items if isinstance(item, Param)],
                tags=[item for item in items if isinstance(item, RunTag)],
            )
        except MlflowException as error:
            if not _is_refusal(error):
                raise
            if self._is_gone(run_id):
                return
            if len(items) == 1:
                self._refused(f"{type(items[0]).__name__.lower()} {items[0].key!r}", error)
                return
            half = len(items) // 2
            self._log(run_id, items[:half])
            self._log(run_id, items[half:])

    def _upload(self, name: str, run_id: str, file: dict[str, Any]) -> None:
        source = self.spool.folder / file["from"]
        if not source.exists():
            return  # uploaded already, before a crash kept that from being noted
        if "model" in file:
            self._unless_refused(lambda: self._log_model(name, run_id, file, source), run_id, "the model")
        elif source.is_dir():
            self._unless_refused(
                lambda: self.client().log_artifacts(run_id, os.fspath(source), file["to"]), run_id, file["to"]
            )
        else:
            self._unless_refused(
                lambda: self.client().log_artifact(run_id, os.fspath(source), file["to"] or None), run_id, source.name
            )
        self.spool.drop_file(file["from"])

    def _log_model(self, name: str, run_id: str, file: dict[str, Any], source: Path) -> None:
        client = self.client()
        book_name = f"model:{name}:{file['from']}"
        model_id = self.book.id_of(book_name)
        if model_id is None:
            made = client.create_logged_model(self.experiment_id(), name=file["model"], source_run_id=run_id)
            model_id = str(made.model_id)
            self.book.note(book_name, model_id)
        client.log_model_artifacts(model_id, os.fspath(source))
        client.finalize_logged_model(model_id, "READY")
        registered = file.get("register")
        if registered:
            with contextlib.suppress(MlflowException):  # it is there already
                client.create_registered_model(registered)
            client.create_model_version(registered, f"models:/{model_id}", run_id=run_id, model_id=model_id)

    def _unless_refused(self, call: Callable[[], Any], run_id: str, what: str) -> None:
        try:
            call()
        except MlflowException as error:
            if not _is_refusal(error):
                raise
            if not self._is_gone(run_id):
                self._refused(what, error)

    def _is_gone(self, run_id: str) -> bool:
        """Whether somebody deleted the run meanwhile; then nothing more is sent to it."""
        if run_id not in self._gone:
            try:
                if self.client().get_run(run_id).info.lifecycle_stage == "active":
                    return False
            except MlflowException as error:
                if not _is_refusal(error):
                    raise
            self._gone.add(run_id)
            _logger.warning("MLflow run %s was deleted; what is logged for it is dropped", run_id)
        return True

    def _refused(self, what: str, error: Exception) -> None:
        if what not in self._said:
            self._said.add(what)
            _logger.warning("MLflow refuses %s, which is left out: %s", what, without_passwords(str(error)))


def _is_refusal(error: MlflowException) -> bool:
    return str(error.error_code) in _REFUSALS


def check_reachable(uri: str) -> None:
    """Looks whether somebody listens at an HTTP address. Other stores, and servers behind a proxy, pass.

    Raises:
        TrackingUnavailable: nobody does.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname):
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), _CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise TrackingUnavailable(without_passwords(uri), str(error)) from None


def _uri_of(target: dict[str, Any]) -> str:
    """The target's URI, with the user and password that the environment has for it."""
    uri = str(target["uri"])
    own = os.environ.get("MLFLOW_TRACKING_URI", "")
    if own and without_passwords(own) == uri:
        return own
    # Without them MLflow looks for MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
    head, separator, tail = uri.partition("://")
    return head + separator + tail.rpartition("@")[2] if "********@" in uri else uri
