"""``tune.script``: any program as a trainable."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.pruners.base import Continue
from tuneflow.trainable import session as sessions
from tuneflow.trainable.command import fields, filled, is_program_text, missing_in, unwritable_in
from tuneflow.trainable.messages import TrialInfo
from tuneflow.trainable.printed import checked_pattern
from tuneflow.trainable.script_run import ScriptRun
from tuneflow.trainable.wire import ADDRESS, SECRET

if TYPE_CHECKING:
    from tuneflow.space import Space

__all__ = ["Script", "script"]

_TRIAL = {"trial.number": 0, "trial.id": "00000", "trial.dir": "", "trial.seed": 0, "trial.device": "cpu"}
"""What a trial adds to its configuration, with a value of the right kind."""
# Of a launcher around the driver: a trial is a job of its own.
_LAUNCHER = frozenset(
    f"{prefix}{name}" for prefix in ("", "LOCAL_", "GROUP_", "ROLE_") for name in ("RANK", "WORLD_SIZE")
) | {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"}


def script(
    program: str | os.PathLike[str] | Sequence[str],
    args: str | Sequence[Any] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    metrics: str | bool = True,
    cwd: str | os.PathLike[str] | None = None,
    grace_s: float = 10.0,
    name: str | None = None,
) -> Script:
    r"""A program as a trainable: ``tune.run(tune.script("train.py", args="--lr {lr}"), {"lr": ...}, ...)``.

    It runs once per trial, as a process group, and everything that it starts ends with the trial. Inside it
    ``tuneflow.report``, ``tuneflow.get_checkpoint`` and ``tuneflow.get_trial`` work as in a function. One that knows
    nothing of tuneflow may print its metrics: ``loss=0.25``.

    Hyperparameters stand in braces: ``{lr}``, ``{model/layers}`` for an entry of an entry, ``{lr:.3g}`` with a format.
    ``{trial.number}``, ``{trial.id}``, ``{trial.dir}``, ``{trial.seed}`` and ``{trial.device}`` are there as well. A
    brace of the program's own is written twice. No shell sees the arguments, and a value never becomes more than one.

    Args:
        program: a Python file, which this interpreter runs; the name of a program, looked for beside this interpreter
            and then in ``PATH``; or a list, the program and its arguments: ``["torchrun", "--standalone",
            "--nproc-per-node=2", "train.py", "--lr={lr}"]``. The text after ``-c`` of a shell or of Python is left
            as it is, and gets values as ``$1`` or from the environment: ``["bash", "-c", 'train --lr "$1" | tee log',
            "-", "{lr}"]``.
        args: arguments, split as a shell would split them before values are filled in; or a list, for full control.
        env: environment variables, on top of this process's own: ``{"LR": "{lr}"}``.
        metrics: a regular expression that finds metrics in a line of output, with groups ``name`` and ``value``, or
            one group named after each metric: ``r"loss: (?P<loss>\S+)"``. Both stdout and stderr are read; a result is
            complete with the line that brings the study's metric. True reads ``name=value`` of a program that does not
            use tuneflow before it prints a result; False reads nothing.
        cwd: the program's working directory, which must be there; the driver's without one. With placeholders it is
            looked for when a trial starts.
        grace_s: seconds that the program has to leave when its trial stops, pauses or takes over another one's state;
            then it gets SIGTERM, and SIGKILL as many seconds later. One that only prints gets SIGTERM at once.
        name: what it is called in names of folders and in messages; the file's name by default.

    Raises:
        InvalidArgument: there is no such file or program, or an argument that breaks a rule.
        InvalidArgumentType: an argument of a kind that cannot be used.

    Example:
        >>> import tuneflow as tune
        >>> study = tune.create_study({"x": tune.uniform(0, 1)}, metric="loss", mode="min", seed=0)
        >>> square = tune.script(["python", "-c", "import sys; print(f'loss={float(sys.argv[1]) ** 2}')", "{x}"])
        >>> study.optimize(square, n_trials=2, executor="processes")
        >>> study.best_value == min(trial.params["x"] ** 2 for trial in study.trials)
        True
    """
    if isinstance(grace_s, bool) or not isinstance(grace_s, (int, float)) or not 0 <= grace_s < float("inf"):
        raise InvalidArgument(f"grace_s={grace_s!r} must be a number of seconds >= 0")
    if name is not None and not isinstance(name, str):
        raise InvalidArgumentType(f"name={name!r} must be a string")
    directory = _directory(cwd)
    line = (*_program(program, directory), *_arguments(args))
    environment = _environment(env)
    for index, template in enumerate(line):
        if not is_program_text(line, index):
            fields(template)
    return Script(
        line=line,
        environment=environment,
        metrics=metrics if isinstance(metrics, bool) else checked_pattern(metrics),
        cwd=directory,
        grace_s=float(grace_s),
        name=name or _label(program),
    )


@dataclass(frozen=True, kw_only=True)
class Script:
    """A program as a trainable; made by ``tune.script``. All of it are plain values, so that it can be stored.

    Attributes:
        line: the program and its arguments, with placeholders.
        environment: values by name, with placeholders.
        metrics: the pattern of printed metrics; True for the usual one, False for none.
        cwd: working directory, with placeholders.
        grace_s: seconds to leave.
        name: for folders and messages.
        required: metrics that a result must hold; set where the study is known.
        tuneflow_resources: what each trial takes; see ``tune.with_resources``.
    """

    tuneflow_is_program: ClassVar[bool] = True

    line: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    metrics: str | bool = True
    cwd: str | None = None
    grace_s: float = 10.0
    name: str = "script"
    required: tuple[str, ...] = ()
    tuneflow_resources: Mapping[str, float] | None = None

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def tuneflow_kind(self) -> str:
        """How it is called; with several objectives it has to return them all."""
        return "trial" if len(self.required) > 1 else "config"

    def tuneflow_bind(self, *, space: Space | None, metrics: Sequence[str]) -> Script:
        """The same for a study: called before its first trial.

        Args:
            space: what the configurations come from; None where the study has none.
            metrics: the study's objectives.

        Raises:
            InvalidArgument: a placeholder that no configuration fills, or a format that its values do not fit.
        """
        definition = {} if space is None else space.definition
        missing_in(self._templates(), definition, _TRIAL)
        unwritable_in(self._templates(), definition, _TRIAL)
        for index, text in enumerate(self.line):
            if is_program_text(self.line, index):
                _check_program_text(text, definition)
        return replace(self, required=tuple(metrics))

    def __call__(self, config: Any) -> Mapping[str, Any] | None:
        """Runs the program for the trial that runs here."""
        session = sessions.current("tune.script(...)")
        values, extra = session.assignment.config, self._extra(session.info)
        line = [
            text if is_program_text(self.line, index) else filled(text, values, extra)
            for index, text in enumerate(self.line)
        ]
        line[0] = _found(line[0])
        own = {name: filled(text, values, extra) for name, text in self.environment.items()}
        cwd = None if self.cwd is None else str(Path(filled(self.cwd, values, extra)).expanduser())
        run = ScriptRun(session, name=self.name, metrics=self.metrics, required=self.required, grace_s=self.grace_s)
        verdict = run.run(line, {**_inherited(), **own}, cwd)
        if verdict is not None and not isinstance(verdict, Continue):
            raise session.interrupt(verdict)
        return run.last_metrics if len(self.required) > 1 else None

    def _templates(self) -> list[str]:
        line = [text for index, text in enumerate(self.line) if not is_program_text(self.line, index)]
        return [*line, *self.environment.values(), *([] if self.cwd is None else [self.cwd])]

    def _extra(self, info: TrialInfo) -> dict[str, Any]:
        used = {name for text in self._templates() for name in fields(text)}
        known = {
            "trial.number": info.number,
            "trial.id": info.trial_id,
            "trial.dir": info.dir if "trial.dir" in used else "",  # made when it is asked for
            "trial.seed": info.seed,
            "trial.device": info.device,
        }
        return {name: known[name] for name in _TRIAL}


def _program(program: Any, cwd: str | None) -> tuple[str, ...]:
    """The program as the first arguments of a line, where they are found now."""
    if isinstance(program, (list, tuple)):
        line = _arguments(program)
        if not line or not line[0]:
            raise InvalidArgument(f"program={program!r} must hold the program's name and its arguments")
        if not fields(line[0]):
            _check_found(filled(line[0], {}, {}), cwd)
            _check_python_file(line, cwd)
        return line
    if not isinstance(program, (str, os.PathLike)) or not os.fspath(program):
        raise InvalidArgumentType(
            f"program={program!r} must be a file, the name of a program, or a list: the program and its arguments"
        )
    name = str(os.fspath(program))
    path = Path(name).expanduser().absolute()
    if name.endswith(".py"):
        if not path.is_file():
            raise InvalidArgument(f"program={name!r}: there is no file {path}{_hint(name)}")
        return "python", _literal(str(path))
    if os.sep in name or not isinstance(program, str):
        _check_found(str(path), None)
        return (_literal(str(path)),)
    _check_found(name, None)
    return (_literal(name),)


def _hint(name: str) -> str:
    return "; a line with arguments is given as a list, or in args=" if " " in name else ""


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _directory(cwd: Any) -> str | None:
    """The working directory as a template; one without placeholders is there, and is named in full."""
    if cwd is None:
        return None
    if not isinstance(cwd, (str, os.PathLike)) or not isinstance(os.fspath(cwd), str):
        raise InvalidArgumentType(f"cwd={cwd!r} must be a path")
    text = str(os.fspath(cwd))
    if fields(text):
        return text
    path = Path(filled(text, {}, {})).expanduser().absolute()
    if not path.is_dir():
        raise InvalidArgument(f"cwd={text!r}: there is no folder {path}")
    return _literal(str(path))


def _check_found(name: str, cwd: str | None) -> None:
    if os.sep in name:
        path = Path(_found(name))
        if not path.is_absolute() and cwd is not None:
            if fields(cwd):
                return  # known when a trial starts
            path = Path(filled(cwd, {}, {})) / path
        if not path.is_file() or not os.access(path, os.X_OK):
            what = (
                "which is a folder" if path.is_dir() else "which may not be executed; chmod +x"
                if path.exists() else "which is not there"
            )  # fmt: skip
            raise InvalidArgument(f"program={name!r} is no file that can be executed: {path.absolute()}, {what}")
    elif os.sep not in _found(name):
        hint = f"; for the file in this folder write './{name}'" if Path(name).is_file() else _hint(name)
        raise InvalidArgument(f"program={name!r} was not found, neither beside {sys.executable} nor in PATH{hint}")


def _check_python_file(line: Sequence[str], cwd: str | None) -> None:
    """Python's own message about a missing file would come once per trial."""
    if len(line) < 2 or line[0] != "python" or not line[1].endswith(".py") or fields(line[1]) or fields(cwd or ""):
        return
    path = Path(filled(cwd or ".", {}, {}), filled(line[1], {}, {})).absolute()
    if not path.is_file():
        raise InvalidArgument(f"program={list(line)!r}: there is no file {path}")


def _found(name: str) -> str:
    """Where a program lies: this interpreter's own tools come first, so that a virtual environment is used as one."""
    if os.sep in name:  # as it is: "./train" is no name to be looked for
        return str(Path(name).expanduser()) if name.startswith("~") else name
    if name == "python":
        return sys.executable
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.is_file() and os.access(beside, os.X_OK) else shutil.which(name) or name


def _label(program: Any) -> str:
    parts = [str(part) for part in program] if isinstance(program, (list, tuple)) else [os.fspath(program)]
    files = [part for part in parts if part.endswith(".py")] or parts
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in Path(files[0]).stem)[:60] or "script"


def _arguments(args: Any) -> tuple[str, ...]:
    if args is None:
        return ()
    if isinstance(args, str):
        try:
            return tuple(shlex.split(args))
        except ValueError as error:
            raise InvalidArgument(f"args={args!r} cannot be split: {error}; or give a list") from None
    if not isinstance(args, (list, tuple)) or not all(isinstance(arg, (str, int, float, os.PathLike)) for arg in args):
        raise InvalidArgumentType(f"{args!r} must be a list of strings, numbers and paths")
    return tuple(os.fspath(arg) if isinstance(arg, os.PathLike) else str(arg) for arg in args)


def _environment(env: Any) -> dict[str, str]:
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise InvalidArgumentType(
            f"env is of type {type(env).__name__} and must be a dict of strings: {{'LR': '{{lr}}'}}"
        )
    for name, text in env.items():  # no message shows a value: they are where secrets stand
        if not isinstance(name, str):
            raise InvalidArgumentType(f"env has the key {name!r}; the name of a variable must be a string")
        if not name or "=" in name or "\0" in name:
            raise InvalidArgument(f"env has the key {name!r}; the name of a variable must not be empty or hold '='")
        if name in (ADDRESS, SECRET):
            raise InvalidArgument(f"env sets {name}, which each run of a program gets anew; leave it out")
        if not isinstance(text, (str, int, float, os.PathLike)):
            raise InvalidArgumentType(
                f"env[{name!r}] is of type {type(text).__name__}; it must be a string, a number or a path. A variable "
                f"that is to be empty gets ''"
            )
    given = {name: str(os.fspath(text) if isinstance(text, os.PathLike) else text) for name, text in env.items()}
    for text in given.values():
        fields(text)
    return given


def _check_program_text(text: str, definition: Mapping[str, Any]) -> None:
    for name in re.findall(r"(?<!\$)\{([\w/.]+)\}", text):
        if name in definition or "/" in name:
            raise InvalidArgument(
                f"{{{name}}} stands in a program's text, {text!r}, of which the value would become a part; pass it as "
                f'an argument after the text ("$1" to a shell) or with env='
            )


def _inherited() -> dict[str, str]:
    """This process's environment, as a trial's program should find it."""
    kept = {
        name: text
        for name, text in os.environ.items()
        if name not in _LAUNCHER and not name.startswith("TORCHELASTIC_")
    }
    kept.setdefault("PYTHONUNBUFFERED", "1")  # what is printed is seen when it is printed
    root = str(Path(__file__).resolve().parents[2])
    if root not in sysconfig.get_paths().values():  # else every interpreter of this environment finds it
        parts = [part for part in kept.get("PYTHONPATH", "").split(os.pathsep) if part]
        kept["PYTHONPATH"] = os.pathsep.join([*parts, *([] if root in parts else [root])])
    return kept
