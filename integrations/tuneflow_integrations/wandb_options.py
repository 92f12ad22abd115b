"""What a user says about W&B: read, checked, and turned into arguments of ``wandb.init``."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import netrc
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb

from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.plain import MASK, plain, without_passwords

__all__ = ["WandbOptions", "run_id"]

_OWN = ("api_key_file", "api_key", "excludes", "log_config", "upload_checkpoints")
_KNOWN = frozenset(inspect.signature(wandb.init).parameters)
_TEXTS = frozenset({"group", "job_type", "name", "notes", "tags"})
_ALIASES = {"run_id": "id", "run_name": "name"}
_QUIET: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "x_disable_stats": True,  # of the driver's process: they would be the same in every run
    "x_disable_meta": True,
    "init_timeout": 30.0,
    "finish_timeout": 600.0,
}
_NO_PROJECT = (
    "W&B needs to know the project; pass WandbLogger('my-project'), config={'wandb': {'project': 'my-project'}}, or "
    "set the environment variable WANDB_PROJECT"
)


@dataclass(frozen=True, kw_only=True)
class WandbOptions:
    """How trials become runs of W&B. Made by ``merged``, which checks everything.

    Attributes:
        api_key: None for the one that W&B finds itself.
        excludes: results that are not logged, by flat name; "val" stands for "val/loss" too.
        log_config: whether each row holds the configuration in force.
        upload_checkpoints: whether checkpoints become artifacts.
        init: arguments of ``wandb.init`` that the user gave.
        place: of the logger among those of a study that would give its runs the same ids; from the second on it is
            part of the id.
    """

    api_key: str | None = field(default=None, repr=False)
    excludes: tuple[str, ...] = ()
    log_config: bool = False
    upload_checkpoints: bool = False
    init: dict[str, Any] = field(default_factory=dict)
    place: int = 1

    @classmethod
    def merged(cls, given: Mapping[str, Any], section: Mapping[str, Any] | None = None) -> WandbOptions:
        """The options that follow from arguments and from ``config["wandb"]``, which outranks them.

        Args:
            given: by name: those of ``WandbLogger`` and of ``wandb.init``.
            section: the same names.

        Raises:
            InvalidArgument: a name or a value that cannot be used; a key file that cannot be read.
            InvalidArgumentType: an argument of another kind than is wanted.
        """
        section = section or {}
        for values in (given, section):
            if values.get("api_key") is not None and values.get("api_key_file") is not None:
                raise InvalidArgument("api_key and api_key_file say the same thing; pass one of them")
        values = {name: value for name, value in given.items() if value is not None}
        if section.get("api_key") is not None or section.get("api_key_file") is not None:
            values = {name: value for name, value in values.items() if name not in ("api_key", "api_key_file")}
        values.update((name, value) for name, value in section.items() if value is not None)
        init = {_ALIASES.get(name, name): value for name, value in values.items() if name not in _OWN}
        _check_names(init)
        options = cls(
            api_key=_key(values.get("api_key"), values.get("api_key_file")),
            excludes=_names(values.get("excludes", ())),
            log_config=_flag("log_config", values),
            upload_checkpoints=_flag("upload_checkpoints", values),
            init=init,
        )
        options._check_values()
        return options

    @property
    def mode(self) -> str:
        """Where runs go, as far as it can be told before W&B has started: "online", "offline", "disabled", ..."""
        return str(self.init.get("mode") or self._settings().get("mode") or os.environ.get("WANDB_MODE") or "online")

    @property
    def base_url(self) -> str:
        """The server's address, as W&B knows it."""
        return str(self._settings().get("base_url") or wandb.setup().settings.base_url)

    def check_ready(self) -> None:
        """Finds what would keep runs from starting: no project, no key for an online run.

        Where there is no key and somebody sits at the terminal, W&B asks for it.

        Raises:
            InvalidArgument: one of them is missing.
        """
        if self.mode == "disabled":
            return
        if not (self.init.get("project") or self._settings().get("project") or os.environ.get("WANDB_PROJECT")):
            raise InvalidArgument(_NO_PROJECT)
        if self.mode == "online" and not self._has_key() and not _asked_for_key():
            raise InvalidArgument(
                "W&B needs an API key to go online and found none; pass api_key_file= or api_key=, set WANDB_API_KEY, "
                "run `wandb login`, or log to files with mode='offline'"
            )

    def init_arguments(
        self,
        *,
        study: str,
        number: int,
        token: str,
        config: Mapping[str, Any],
        suffix: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Arguments of ``wandb.init`` for the run of one trial.

        Args:
            study: the study's name: the group, and the beginning of the run's name.
            number: the trial's number.
            token: what tells this study from others of its name.
            config: the trial's configuration, as JSON values.
            suffix: of the id, for a run beside the driver's.
            settings: further ``wandb.Settings`` that the user's own outrank.
        """
        trial_id = f"{number:05d}"
        init = dict(self.init)
        given = init.pop("id", None)
        init.pop("settings", None)
        place = f"-{self.place}" if self.place > 1 else ""
        if given is None:
            init["id"] = run_id(study, token + place, number) + suffix
        else:
            given = f"{given}{place}"
            init["id"] = _filled(given, trial_id) if "{trial_id}" in given else f"{given}-{trial_id}"
        init["name"] = _filled(init["name"], trial_id) if init.get("name") else f"{study}-{trial_id}"
        init.setdefault("group", _shortened(study))
        if self.mode != "offline":  # offline, W&B would warn that it takes no notice
            init.setdefault("resume", "allow")
        chosen = {**_QUIET, **(settings or {}), **self._settings()}
        if self.api_key is not None:
            chosen["api_key"] = self.api_key
        fields = getattr(wandb.Settings, "model_fields", chosen)
        init["settings"] = wandb.Settings(**{name: value for name, value in chosen.items() if name in fields})
        extra = init.get("config")
        init["config"] = {**(plain(extra) if isinstance(extra, Mapping) else {}), **config}
        for name in _TEXTS & init.keys():
            init[name] = plain(init[name])
        return init

    def excludes_key(self, key: str) -> bool:
        """Whether a result is not to be logged."""
        return any(key == name or key.startswith(f"{name}/") for name in self.excludes)

    def masked(self, text: str) -> str:
        """A text without the key, and without the passwords in its URLs."""
        for key in (self.api_key, self._settings().get("api_key")):
            text = text.replace(key, MASK) if key else text
        return without_passwords(text)

    def _settings(self) -> dict[str, Any]:
        given = self.init.get("settings") or {}
        if isinstance(given, Mapping):
            return dict(given)
        known = type(given).model_fields  # it also counts as set what it has worked out itself
        return {name: getattr(given, name) for name in given.model_fields_set if name in known}

    def _check_values(self) -> None:
        checked = {
            "project": self.init.get("project"),
            "entity": self.init.get("entity"),
            "mode": self.init.get("mode"),
            "run_tags": tuple(self.init.get("tags") or ()),
            "run_id": None if self.init.get("id") is None else f"{_filled(self.init['id'], '0')}",
        }
        try:
            wandb.Settings(**{name: value for name, value in {**self._settings(), **checked}.items() if value})
        except Exception as error:  # W&B's own and its validator's, which have no common base
            text = self.masked(re.sub(r"\s+", " ", str(error)).split(" For further information")[0])
            raise InvalidArgument(f"W&B refuses these settings: {text}") from None

    def _has_key(self) -> bool:
        if self.api_key or os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
            return True
        if self._settings().get("api_key") or self._settings().get("identity_token_file"):
            return True
        base = self._settings().get("base_url") or os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
        for path in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
            with contextlib.suppress(OSError, netrc.NetrcParseError):
                if path and netrc.netrc(Path(path).expanduser()).authenticators(urlsplit(base).hostname or base):
                    return True
        with contextlib.suppress(Exception):  # in a file of W&B's own; an older W&B has no `prompt`
            return bool(wandb.login(host=base, prompt=False))
        return False


def _asked_for_key() -> bool:
    """Whether somebody at the terminal gave W&B a key."""
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    try:
        return bool(wandb.login())
    except Exception:  # whatever went wrong, there is no key
        return False


def run_id(study: str, token: str, number: int) -> str:
    """The id of a trial's run: the same in every process that goes on with the study, and of no other study's.

    Example:
        >>> run_id("a/b", "c0ffee", 7)
        'a-b-c0ffee-00007'
    """
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', study)[:64].strip('-') or 'study'}-{token}-{number:05d}"


def _filled(text: str, trial_id: str) -> str:
    return str(text).replace("{trial_id}", trial_id)


def _shortened(study: str) -> str:
    """At most 128 characters, which is what W&B takes for a group."""
    return study if len(study) <= 128 else f"{study[:119]}-{hashlib.sha256(study.encode()).hexdigest()[:8]}"


def _check_names(init: Mapping[str, Any]) -> None:
    unknown = sorted(set(init) - _KNOWN)
    if unknown:
        raise InvalidArgument(
            f"{', '.join(unknown)}: neither an option of WandbLogger ({', '.join(_OWN)}) nor an argument of "
            f"wandb.init, which takes {', '.join(sorted(_KNOWN))}"
        )
    if "reinit" in init:
        raise InvalidArgument(
            f"reinit={init['reinit']!r} cannot be chosen: each trial has a run of its own; leave it out"
        )
    settings = init.get("settings")
    if settings is not None and not isinstance(settings, (Mapping, wandb.Settings)):
        raise InvalidArgumentType(f"settings={settings!r} must be a dict or a wandb.Settings")


def _key(key: Any, path: Any) -> str | None:
    if key is not None:
        if not isinstance(key, str) or not key.strip():
            raise InvalidArgument("api_key must be a text that is not empty; get one at https://wandb.ai/authorize")
        return key.strip()
    if path is None:
        return None
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, TypeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InvalidArgument(
            f"api_key_file={path!r} cannot be read ({reason}); pass the path of a text file that holds the key alone"
        ) from None
    if not text or len(text.split()) != 1:
        raise InvalidArgument(f"api_key_file={path!r} must hold the key alone, in one line")
    return text


def _names(given: Any) -> tuple[str, ...]:
    if not isinstance(given, (list, tuple, set, frozenset)) or not all(isinstance(name, str) for name in given):
        raise InvalidArgumentType(f"excludes={given!r} must be a list of names of results")
    return tuple(given)


def _flag(name: str, values: Mapping[str, Any]) -> bool:
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise InvalidArgumentType(f"{name}={value!r} must be True or False")
    return value
