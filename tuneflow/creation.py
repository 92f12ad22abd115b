"""Making and loading studies: every argument is checked here, before anything runs."""

from __future__ import annotations

import hashlib
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from tuneflow.arguments import refuse_class
from tuneflow.clock import Clock
from tuneflow.drivers import is_lock
from tuneflow.errors import InvalidArgument, InvalidArgumentType, UnknownName
from tuneflow.folders import TrialFolders
from tuneflow.keeping import Keeper, Retention
from tuneflow.pruners import AdaptedPruner, MedianStopping, NoPruner, Pruner
from tuneflow.samplers import make_sampler
from tuneflow.samplers.seeding import derive
from tuneflow.space import Space
from tuneflow.space.sections import split_sections
from tuneflow.storage import Journal, open_storage
from tuneflow.storage.quiet import quiet
from tuneflow.storage.sqlite import sqlite_file
from tuneflow.study import Study
from tuneflow.study_core import StudyCore
from tuneflow.telling import Objectives
from tuneflow.verdicts import Verdicts

__all__ = ["build_study", "create_study", "load_study", "pruner_from", "sampler_seed"]

_SEED = "tuneflow:seed"


def create_study(
    space: Mapping[str, Any] | Space | None = None,
    *,
    metric: str | Sequence[str] | None = None,
    mode: str | Sequence[str] | None = None,
    direction: str | StudyDirection | None = None,
    directions: Sequence[str | StudyDirection] | None = None,
    sampler: Any = None,
    pruner: Any = None,
    storage: Any = None,
    pruner_metric: str | None = None,
    study_name: str | None = None,
    load_if_exists: bool = False,
    seed: int | None = None,
) -> Study:
    """Creates a study.

    Args:
        space: a dict of domains, nested as deep as you like; None for parameters suggested inside the loop. A dict
            under "wandb" holds settings of that tracker and no hyperparameters.
        metric: the key of the objective in what is reported; a list for several objectives.
        mode: "min" or "max"; a list for several objectives. Default "min".
        direction: "minimize" or "maximize": Optuna's spelling of ``mode``.
        directions: the same for several objectives.
        sampler: a name ("tpe", "random", "gp", "cmaes", ...), an Optuna sampler, or one of ``tuneflow.search``. Default
            TPE.
        pruner: a name ("asha", "hyperband", "median", "none"), a tuneflow pruner or an Optuna pruner. Default
            none. Names that need a ``max_resource`` are refused with the call to write instead.
        storage: None for memory; a path or "journal:PATH"; "sqlite:///FILE"; "postgresql://..."; an Optuna
            storage.
        pruner_metric: with several objectives, the metric that the pruner looks at.
        study_name: the name in the storage; made up where it is left out.
        load_if_exists: go on with the study of that name rather than refuse it.
        seed: fixes every configuration and decision; any integer >= 0.

    Raises:
        InvalidArgument: an argument that breaks a rule; the message says which and what to do.
        UnknownName: a sampler or pruner name that does not exist; the message lists those that do.
    """
    return build_study(
        space,
        metric=metric,
        mode=mode,
        direction=direction,
        directions=directions,
        sampler=sampler,
        pruner=pruner,
        storage=storage,
        pruner_metric=pruner_metric,
        study_name=study_name,
        load_if_exists=load_if_exists,
        seed=seed,
    )


def load_study(
    *, study_name: str | None, storage: Any, space: Any = None, sampler: Any = None, pruner: Any = None
) -> Study:
    """Opens a study that a storage holds.

    Args:
        study_name: its name; None where the storage holds one study only.
        storage: as for ``create_study``.
        space: the space it was created with, where it was declared.
        sampler: as for ``create_study``; samplers are not stored.
        pruner: as for ``create_study``; its state is rebuilt from what the trials reported.

    Raises:
        InvalidArgument: no such study; the message lists those that the storage holds. Or no such file.
    """
    opened = open_storage(storage, must_exist=True)
    names = [name for name in optuna.get_all_study_names(opened) if not is_lock(name)]
    if study_name is None and len(names) == 1:
        study_name = names[0]
    if study_name is None and names:
        raise InvalidArgument(f"the storage holds several studies, name one of them: {', '.join(sorted(names))}")
    if study_name not in names:
        raise InvalidArgument(
            f"study_name={study_name!r} is not in the storage; it holds: {', '.join(sorted(names)) or 'no study'}"
        )
    with quiet():
        inner = optuna.load_study(study_name=study_name, storage=opened)
    kept = inner.metric_names
    return build_study(
        space,
        metric=kept,
        directions=inner.directions,
        sampler=sampler,
        pruner=pruner,
        storage=opened,
        study_name=study_name,
        load_if_exists=True,
        pruner_metric=inner.user_attrs.get("tuneflow:pruner_metric"),
    )


def build_study(
    space: Mapping[str, Any] | Space | None = None,
    *,
    metric: str | Sequence[str] | None = None,
    mode: str | Sequence[str] | None = None,
    direction: str | StudyDirection | None = None,
    directions: Sequence[str | StudyDirection] | None = None,
    sampler: Any = None,
    pruner: Any = None,
    storage: Any = None,
    pruner_metric: str | None = None,
    study_name: str | None = None,
    load_if_exists: bool = False,
    seed: int | None = None,
    folder: Path | None = None,
    retention: Retention | None = None,
    clock: Clock | None = None,
    has_metric: bool = True,
    sections: Mapping[str, dict[str, Any]] | None = None,
) -> Study:
    """``create_study`` with what the runner adds: the trials' folder, retention, the clock, runs without a metric."""
    refuse_class(sampler=sampler, pruner=pruner)
    metric, mode = (_with_holders(name, given, sampler, pruner) for name, given in (("metric", metric), ("mode", mode)))
    searcher = sampler if callable(getattr(sampler, "to_sampler", None)) else None
    if searcher is not None:
        seed = searcher.own_seed if seed is None else seed
        if searcher.space is not None:
            space = searcher.space_with(space.definition if isinstance(space, Space) else space)
    metrics = [metric] if isinstance(metric, str) else list(metric or ())
    wanted = _directions(metrics, mode, direction, directions)
    found: Mapping[str, dict[str, Any]] = {}
    if isinstance(space, Mapping):
        space, found = split_sections(space)
    declared = space if isinstance(space, Space) or space is None else Space(space)
    if declared is not None:
        _refuse_distributions(declared)
    if declared is not None and declared.has_computed:
        declared.sample(np.random.default_rng(0))  # finds cycles and failing functions before any trial starts
    if searcher is not None:
        sampler = searcher.to_sampler(space=declared, seed=seed)
    made_sampler = make_sampler(sampler, space=declared, seed=sampler_seed(seed))
    made_pruner = pruner_from(pruner)
    if made_pruner is not None and len(wanted) > 1 and pruner_metric is None:
        raise InvalidArgument(
            f"a pruner cannot judge {len(wanted)} objectives at once; pass pruner_metric= one of "
            f"{', '.join(metrics) or 'your metric names'}, or pruner=None"
        )
    opened = open_storage(storage)
    with quiet():
        try:
            inner = optuna.create_study(
                storage=opened,
                sampler=made_sampler,
                pruner=made_pruner
                if isinstance(made_pruner, optuna.pruners.BasePruner)
                else optuna.pruners.NopPruner(),
                study_name=study_name,
                directions=wanted,
                load_if_exists=load_if_exists,
            )
        except optuna.exceptions.DuplicatedStudyError:
            raise InvalidArgument(
                f"study_name={study_name!r} exists in the storage; pass load_if_exists=True to go on with it, or "
                f"another name"
            ) from None
    if inner.directions != wanted:
        raise InvalidArgument(
            f"study {study_name!r} exists with directions {[d.name.lower() for d in inner.directions]}, not "
            f"{[d.name.lower() for d in wanted]}"
        )
    if metrics and inner.metric_names != metrics:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            inner.set_metric_names(metrics)
    if pruner_metric is not None:
        inner.set_user_attr("tuneflow:pruner_metric", pruner_metric)
    study_seed, is_seeded = _study_seed(inner, seed)
    study = Study(
        inner,
        space=declared,
        objectives=Objectives(tuple(metrics), pruner_metric, has_metric),
        make_verdicts=_verdicts_maker(made_pruner, metrics, wanted, pruner_metric, study_seed),
        seed=study_seed,
        is_seeded=is_seeded,
        keeper=Keeper(retention),
        folders=TrialFolders(folder if folder is not None else _folder_for(opened, inner.study_name)),
        clock=clock,
        sections=found if sections is None else sections,
    )
    points = (searcher.points_to_evaluate or ()) if searcher is not None else ()
    if points and not study.get_trials(deepcopy=False):
        with study.sharing.drivers.one_of_all("points") as is_first:
            if is_first and not study.get_trials(deepcopy=False):
                for point in points:
                    study.enqueue_trial(point)
    return study


def _refuse_distributions(space: Space) -> None:
    for name, value in space.flatten(space.definition).items():
        if isinstance(value, optuna.distributions.BaseDistribution):
            raise InvalidArgument(
                f"the space's entry {name!r} is {value!r}, a distribution of Optuna's; write it as a domain "
                f"(tune.uniform, tune.loguniform, tune.choice, ...), or pass it to study.ask(fixed_distributions)"
            )


def sampler_seed(seed: Any) -> int | None:
    """The seed that a study with ``seed`` gives its sampler, in [0, 2**32).

    Raises:
        InvalidArgument: it is no integer >= 0.
    """
    if seed is None:
        return None
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InvalidArgument(f"seed={seed!r} must be an integer >= 0, or None for a random one")
    return derive(int(seed), 0)


def _verdicts_maker(
    pruner: Any, metrics: Sequence[str], wanted: Sequence[StudyDirection], pruner_metric: str | None, seed: int
) -> Callable[[StudyCore], Verdicts | None]:
    def make(study: StudyCore) -> Verdicts | None:
        if pruner is None or isinstance(pruner, (NoPruner, optuna.pruners.NopPruner)):
            return None
        index = metrics.index(pruner_metric) if pruner_metric in metrics else 0
        is_maximized = wanted[index] is StudyDirection.MAXIMIZE
        adapted = pruner
        if isinstance(pruner, optuna.pruners.BasePruner):
            adapted = AdaptedPruner(study.ask_optuna_pruner)
        rng = np.random.default_rng([seed, 2])
        return Verdicts(adapted, space=study.space, rng=rng, is_maximized=is_maximized)

    return make


def _study_seed(inner: optuna.Study, seed: int | None) -> tuple[int, bool]:
    """The study's seed, from its storage where it has one; and whether the user gave it."""
    stored = inner.user_attrs.get(_SEED)
    if stored is not None and (seed is None or stored == [int(seed), True]):
        return int(stored[0]), bool(stored[1])
    if seed is None and len(inner.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) > 0:
        return 0, False
    chosen = secrets.randbits(32) if seed is None else int(seed)
    inner.set_user_attr(_SEED, [chosen, seed is not None])
    return chosen, seed is not None


def _directions(
    metrics: Sequence[str],
    mode: str | Sequence[str] | None,
    direction: str | StudyDirection | None,
    directions: Sequence[str | StudyDirection] | None,
) -> list[StudyDirection]:
    given = {"mode": mode, "direction": direction, "directions": directions}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise InvalidArgument(f"{' and '.join(named)} say the same thing; pass one of them")
    value = next((value for value in given.values() if value is not None), None)
    if value is None:
        listed: list[Any] = ["min"] * max(1, len(metrics))
    elif isinstance(value, (str, StudyDirection)):
        listed = [value] * (len(metrics) if named == ["mode"] and len(metrics) > 1 else 1)
    else:
        listed = list(value)
    wanted = [_direction(entry, named[0] if named else "mode") for entry in listed]
    if not wanted:
        raise InvalidArgument(f"{named[0]}={value!r} is empty; name a direction for each objective")
    if metrics and len(metrics) != len(wanted):
        raise InvalidArgument(f"{len(metrics)} metric(s) and {len(wanted)} direction(s) were given; give one for each")
    return wanted


def _with_holders(name: str, given: Any, sampler: Any, pruner: Any) -> Any:
    """Metric or mode, which one of Tune's searchers or schedulers may bring."""
    for holder, method in ((sampler, "to_sampler"), (pruner, "to_pruner")):
        own = getattr(holder, name, None) if callable(getattr(holder, method, None)) else None
        if own is not None and given is not None and given != own:
            raise InvalidArgument(
                f"{name}={given!r} and {name}={own!r} of {type(holder).__name__} differ; leave one out"
            )
        given = own if given is None else given
    return given


def _direction(given: Any, argument: str) -> StudyDirection:
    known = {
        "min": StudyDirection.MINIMIZE,
        "max": StudyDirection.MAXIMIZE,
        "minimize": StudyDirection.MINIMIZE,
        "maximize": StudyDirection.MAXIMIZE,
    }
    if isinstance(given, StudyDirection) and given is not StudyDirection.NOT_SET:
        return given
    if isinstance(given, str) and given.lower() in known:
        return known[given.lower()]
    wanted = "'min' or 'max'" if argument == "mode" else "'minimize' or 'maximize'"
    raise InvalidArgument(f"{argument}={given!r} must be {wanted}")


def pruner_from(given: Any) -> Any:
    """The pruner that ``pruner=`` asks for: one of ours, one of Optuna's, or None."""
    if given is None:
        return None
    if isinstance(given, (Pruner, optuna.pruners.BasePruner)):
        return given
    convert = getattr(given, "to_pruner", None)
    if callable(convert):
        return convert()
    if isinstance(given, str):
        names = {"none": NoPruner, "median": MedianStopping}
        budgeted = {"asha": "ASHA", "hyperband": "HyperBand"}
        name = given.lower()
        if name in names:
            return names[name]()
        if name in budgeted:
            raise InvalidArgument(
                f"pruner={given!r} needs to know the full budget of a trial; pass "
                f"tuneflow.pruners.{budgeted[name]}(max_resource=100) with your own number of steps"
            )
        if name in ("pbt", "pb2"):
            raise InvalidArgument(
                f"pruner={given!r} needs to know what to mutate; pass tuneflow.pruners.PBT({{'lr': tune.loguniform("
                f"1e-4, 1e-1)}}) with your own keys"
            )
        raise UnknownName("pruner", given, sorted({*names, *budgeted, "pbt"}))
    raise InvalidArgumentType(f"pruner={given!r} is neither a name, a tuneflow pruner nor an optuna pruner")


def _folder_for(opened: Any, study_name: str) -> Path | None:
    """Where the trials of a study that outlives the process keep their files; None for a study in memory.

    Beside a journal or an SQLite file, so that every process that opens it finds them, from wherever; those of a
    database server in the working directory, where servers are told apart.
    """
    if isinstance(opened, optuna.storages._CachedStorage):
        opened = opened._backend
    place = Path(opened.path) if isinstance(opened, Journal) else None
    url: Any = getattr(getattr(opened, "engine", None), "url", None)
    is_sqlite = url is not None and url.get_backend_name() == "sqlite"
    if is_sqlite:
        place = sqlite_file(url)
    if isinstance(opened, optuna.storages.InMemoryStorage) or (is_sqlite and place is None):
        return None
    if place is not None:
        place = place.absolute()
        return place.with_name(f"{place.name}.trials") / study_name
    if url is None:
        return Path("tuneflow_results", study_name).absolute()
    server = f"{url.host}:{url.port}/{url.database}"
    digest = hashlib.blake2b(server.encode(), digest_size=4).hexdigest()
    return Path("tuneflow_results", f"{study_name}-{digest}").absolute()
