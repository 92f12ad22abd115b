"""The callback: reports, saves, and does what the trial is told."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tuneflow.checkpoint import Checkpoint
from tuneflow.errors import CheckpointUnreadable, InvalidArgument, TuneflowWarning, UsageError
from tuneflow.moved import refusing
from tuneflow.pruners.base import CONTINUE, Continue, Decision, Exploit
from tuneflow_integrations.lightning.packages import callback_class
from tuneflow_integrations.lightning.plateaus import pending_plateaus
from tuneflow_integrations.lightning.relay import Relay, RemoteTarget
from tuneflow_integrations.lightning.saved import all_generator_states, loadable
from tuneflow_integrations.ranks import Shared
from tuneflow_integrations.torch.generators import reseed, set_generator_states
from tuneflow_integrations.torch.live import Live
from tuneflow_integrations.trials import Metrics, Target, flat, newest_readable

__all__ = ["TuneCallback"]

On = Literal["validation_end", "train_epoch_end"]
_Callback: Any = callback_class()
_FILE = "lightning.ckpt"


@refusing("lightning.TuneCallback")
class TuneCallback(_Callback):  # type: ignore[misc]
    """Makes a Lightning training a trial: reports, checkpoints, and stops, pauses or changes course when told to.

    ::

        def train(config):
            callback = TuneCallback({"loss": "val_loss"})
            trainer = Trainer(max_epochs=20, callbacks=[callback])
            callback.fit(trainer, Model(config), datamodule=data)

    ``callback.fit`` is ``trainer.fit`` from the trial's checkpoint where it has one. A trial that was paused goes on
    exactly as if it had never been: weights, optimizers, schedulers, loops, and the states of all generators. One that
    takes over another's state does so with its own configuration (``live``) and random numbers of its own. After a
    stop, whatever the function returns does not count. (A ``ReduceLROnPlateau`` that monitors a training metric needs
    ``on="train_epoch_end"`` for that: after a validation its epoch has no value yet.)

    With ``ddp_spawn``, ``ddp_fork`` and ``ddp_notebook`` rank 0 reports and all ranks do what it is told; give
    ``sync_dist=True`` when you log. Under ``torchrun`` the same holds. ``ddp``, which starts the program again for each
    device, is refused.

    Args:
        metrics: what to report: a name in ``trainer.callback_metrics``, several, or ``{"loss": "val_loss"}``.
        trial: a trial of tuneflow's or of Optuna's; without one, that which runs here.
        on: when to report: after each validation, also where an epoch has several, or at the end of a training epoch.
        checkpoint: False never saves: a paused trial then starts over.
        live: entries of the configuration that restored optimizers and schedulers take over; see
            ``tuneflow_integrations.torch.Live``.
        every_n_steps: report every so many optimizer steps instead. Saved in mid-epoch, a training resumes exactly only
            with a loader that knows its place: ``tuneflow_integrations.torch.ResumableLoader``.

    Attributes:
        decision: the answer to the last report.
        step: reports so far, the trial's step; those before a resume included.

    Raises:
        InvalidArgument: ``on`` or ``every_n_steps`` make no sense.

    Example:
        >>> callback = TuneCallback("val_loss")
        >>> callback.step
        0
    """

    def __init__(
        self,
        metrics: str | Sequence[str] | Mapping[str, str],
        *,
        trial: Any = None,
        on: On = "validation_end",
        checkpoint: bool = True,
        live: Sequence[str] | Mapping[str, str | tuple[int, str]] = ("lr",),
        every_n_steps: int | None = None,
    ) -> None:
        super().__init__()
        if on not in ("validation_end", "train_epoch_end"):
            raise InvalidArgument(f"on={on!r} must be 'validation_end' or 'train_epoch_end'")
        if every_n_steps is not None and (isinstance(every_n_steps, bool) or every_n_steps < 1):
            raise InvalidArgument(f"every_n_steps={every_n_steps!r} must be an integer >= 1, or None")
        self._metrics = Metrics(metrics)
        self._trial = trial
        self._on = on
        self._saves = checkpoint
        self._live = Live(live)
        self._every_n_steps = every_n_steps
        self.decision: Decision = CONTINUE
        self.step = 0
        self._pid = os.getpid()
        self._target: Target | None = None
        self._remote: RemoteTarget | None = None
        self._is_in_fit = False
        self._fell_back = False
        self._shared: Shared | None = None
        self._loaded: dict[str, Any] | None = None
        self._recorded = 0
        self._place = ""
        self._trainer: Any = None
        self._n_steps_reported = 0
        self._limits: tuple[Any, Any] | None = None

    # The training as a whole

    def fit(self, trainer: Any, model: Any, **fit_arguments: Any) -> Decision:
        """``trainer.fit(model, **fit_arguments)``, from the trial's checkpoint where it has one.

        ``max_epochs`` is the whole budget of the weights: epochs before a resume count, and those of another trial
        whose weights are taken over. A ``ckpt_path`` of your own counts for a trial's first start. A checkpoint that
        was cut off gives way to the one before it, with a warning.

        In a loop of your own (``study.ask``) an exploit goes on at once where only ``live`` entries of the
        configuration differ; else it is returned: build model and trainer anew from ``trial.config``, with a new
        callback, and call ``fit`` again, which goes on from there.

        Args:
            trainer: the trainer; the callback is added if it lacks it.
            model: the ``LightningModule``.
            fit_arguments: of ``trainer.fit``: ``train_dataloaders``, ``datamodule``, ...

        Returns:
            The last decision: ``Continue`` where the training came to its own end.

        Raises:
            InvalidArgument: the strategy is ``ddp`` or another that starts the program again.
            optuna.TrialPruned: a plain Optuna trial was pruned.
        """
        _refuse_restarting_strategy(trainer)
        if self not in trainer.callbacks:
            trainer.callbacks.insert(0, self)
        self._target = target = Target(self._trial, "TuneCallback")
        while True:
            config = dict(flat(target.config))
            arguments = {**fit_arguments, **self._where_to_start(target.checkpoint)}
            self._run(trainer, model, target, arguments)
            target.unwind()
            decision = self.decision
            if not isinstance(decision, Exploit) or not self._goes_on_at_once(trainer, config, decision):
                return decision

    def _where_to_start(self, checkpoint: Any) -> dict[str, Any]:
        self._fell_back = False
        if not isinstance(checkpoint, Checkpoint):
            return {}
        try:
            _, path, self._fell_back = newest_readable(checkpoint, _FILE, _look_at)
        except CheckpointUnreadable as error:
            number = -1 if self._target is None else self._target.number
            warnings.warn(TuneflowWarning(f"trial {number} starts over: {error}"), stacklevel=3)
            self._fell_back = True
            return {}
        return {"ckpt_path": str(path)}

    def _run(self, trainer: Any, model: Any, target: Target, arguments: dict[str, Any]) -> None:
        self._is_in_fit = True
        # A trainer that has validated before would take the restored epoch for one that is being run, for ever.
        trainer.fit_loop.epoch_loop.val_loop._has_run = False
        try:
            if _starts_processes(trainer):
                with Relay(target) as relay:
                    self._remote = relay.remote
                    trainer.fit(model, **arguments)
                self.decision = relay.decision
            else:
                trainer.fit(model, **arguments)
        finally:
            self._is_in_fit, self._remote = False, None

    def _goes_on_at_once(self, trainer: Any, config: Mapping[str, Any], decision: Exploit) -> bool:
        if _starts_processes(trainer):
            return False  # Lightning starts processes for a trainer's fit once only
        return self._live.is_enough(config, decision.config)

    def __getstate__(self) -> dict[str, Any]:
        # What goes to spawned processes: the trial itself stays, its place is taken by `_remote`.
        return {**self.__dict__, "_trial": None, "_target": None, "_trainer": None, "_shared": None}

    # Hooks, in the order in which they are called

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Finds out which trial it is; all ranks learn it from the first."""
        if stage != "fit":
            return
        _refuse_restarting_strategy(trainer)
        reporter = self._reporter() if trainer.is_global_zero else None
        self._shared = Shared(reporter) if trainer.world_size == 1 else Shared(reporter, trainer.strategy.broadcast)
        self._recorded = self._shared.start_step
        self._loaded = None
        self._trainer = trainer
        self.decision = CONTINUE
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs besides Lightning's own: the step, whose it is, the generators of every rank."""
        if self._shared is None:
            return {}
        return {
            "step": self.step,
            "trial": self._shared.number,
            "config": self._shared.config,
            "place": self._place,
            "pending": {} if self._trainer is None else pending_plateaus(self._trainer),
            "generators": all_generator_states(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Taken up when the training starts."""
        self._loaded = state_dict or None

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Hyperparameters that could not be loaded again become plain values in the file."""
        for owner in (pl_module, trainer.datamodule):
            key = getattr(owner, "CHECKPOINT_HYPER_PARAMS_KEY", "")
            if isinstance(checkpoint.get(key), dict):
                checkpoint[key] = loadable(checkpoint[key])

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        # Saved at the end of an epoch, the iterator that Lightning makes before on_train_start is the next epoch's.
        if self._loaded is not None and self._loaded["place"] == "train_epoch_end":
            self._restore_generators(trainer)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Takes up what was loaded. Earlier would be too early: optimizers are restored after ``on_fit_start``."""
        trial, loaded = self._known(), self._loaded
        if loaded is not None:
            if loaded["place"] != "train_epoch_end":
                self._restore_generators(trainer)
            self.step = int(loaded["step"]) if self._fell_back else trial.start_step
            schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
            for optimizer in trainer.optimizers:
                optimizer._opt_called = (
                    True  # it has stepped, before the resume: else a scheduler warns that it has not
                )
            for index, value in loaded["pending"].items():
                pl_module.lr_scheduler_step(schedulers[index], value)
            applied = self._live.apply(loaded["config"], trial.config, trainer.optimizers, schedulers)
            for name, value in applied.items():
                if name in pl_module.hparams:
                    pl_module.hparams[name] = value
            self._loaded = None
        elif trial.start_step and not self._fell_back and trainer.is_global_zero:
            warnings.warn(
                TuneflowWarning(
                    f"trial {trial.number} is to go on from step {trial.start_step} but its checkpoint was not loaded: "
                    f"call callback.fit(trainer, model, ...) in place of trainer.fit(model, ...)"
                ),
                stacklevel=2,
            )
        if self._every_n_steps is not None:
            self._n_steps_reported = trainer.global_step // self._every_n_steps

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._place = "train_batch_end"
        if self._every_n_steps is None:
            return
        n = trainer.global_step // self._every_n_steps  # a batch may be several optimizer steps, or less than one
        if n > self._n_steps_reported:
            self._n_steps_reported = n
            self._point(trainer)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._place = "validation_end"
        if self._every_n_steps is None and self._on == "validation_end":
            self._point(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._place = "train_epoch_end"
        if self._every_n_steps is None and self._on == "train_epoch_end":
            self._point(trainer)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leaves the trainer as it was; unwinds the trial where ``trainer.fit`` was called without ``callback.fit``."""
        if stage != "fit":
            return
        self._trainer = None
        if self._limits is not None:
            trainer.fit_loop.min_epochs, trainer.fit_loop.epoch_loop.min_steps = self._limits
            self._limits = None
        if self._target is not None and not self._is_in_fit:
            target, self._target = self._target, None
            target.unwind()

    # Reports

    def _point(self, trainer: Any) -> None:
        """The training has come to where it reports."""
        trial = self._known()
        if not isinstance(self.decision, Continue):
            return  # told to end; what is left of the epoch is no news
        self.step += 1
        if self.step <= self._recorded:
            return  # done again after a start from an earlier checkpoint: recorded already
        self.decision = trial.report(
            lambda: self._metrics.pick(trainer.callback_metrics, self._hint()),
            self.step,
            (lambda folder: trainer.save_checkpoint(str(Path(folder) / _FILE), weights_only=False))
            if self._saves
            else None,
        )
        if isinstance(self.decision, Continue):
            return
        trainer.should_stop = True
        loop = trainer.fit_loop  # min_epochs and min_steps would have the trainer go on in spite of that
        self._limits = (loop.min_epochs, loop.epoch_loop.min_steps)
        loop.min_epochs, loop.epoch_loop.min_steps = 0, None

    def _hint(self) -> str:
        if self._on == "validation_end" and self._every_n_steps is None:
            return (
                "Log it in validation_step by self.log(...), or name one of these; what is logged in training_step "
                "with on_epoch=True is there with on='train_epoch_end'"
            )
        return "Log it by self.log(...), or name one of these"

    def _reporter(self) -> Target | RemoteTarget:
        if os.getpid() != self._pid:
            if self._remote is None:
                raise UsageError(
                    "this training runs in processes that the trainer started, where the trial is out of reach; call "
                    "callback.fit(trainer, model, ...) in place of trainer.fit(model, ...)"
                )
            return self._remote
        if self._target is None:
            self._target = Target(self._trial, "TuneCallback")
        return self._target

    def _known(self) -> Shared:
        if self._shared is None:
            raise UsageError("TuneCallback was added to a trainer that had already started; give it to Trainer()")
        return self._shared

    def _restore_generators(self, trainer: Any) -> None:
        trial, loaded = self._known(), self._loaded
        if loaded is None:
            return
        states, rank = loaded["generators"], trainer.global_rank
        if loaded["trial"] != trial.number:
            reseed(trial.seed + rank, trial.start_step)
        elif rank < len(states):
            set_generator_states(states[rank])


def _look_at(path: Path) -> None:
    """Raises where a checkpoint was cut off: the directory of the archive is at its end."""
    if not path.is_dir():  # strategies that shard write folders
        with zipfile.ZipFile(path):
            pass


def _launcher(trainer: Any) -> str:
    return type(trainer.strategy.launcher).__name__


def _starts_processes(trainer: Any) -> bool:
    return _launcher(trainer) == "_MultiProcessingLauncher"


def _refuse_restarting_strategy(trainer: Any) -> None:
    if _launcher(trainer) == "_SubprocessScriptLauncher" and trainer.world_size > 1:
        raise InvalidArgument(
            f"strategy {type(trainer.strategy).__name__} ('ddp') with {trainer.world_size} processes starts the whole "
            f"program again for each of them, the study included; use strategy='ddp_spawn' or 'ddp_fork', or "
            f"devices=1 and more trials at once"
        )
