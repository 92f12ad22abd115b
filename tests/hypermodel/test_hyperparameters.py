"""Hyperparameters: what they declare, what they refuse, how a space is found and compared."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneflow import HyperParameters, Objective
from tuneflow.errors import InvalidArgument, InvalidArgumentType
from tuneflow.hyperparameters import Float, Int, differences, discover, objective_from, parameter_from


class Recording:
    """Stands for a trial: draws by a share of the range, notes what it was asked."""

    def __init__(self, share: float = 0.0) -> None:
        self.share = share
        self.asked: list[tuple[Any, ...]] = []

    def suggest_float(self, name: str, low: float, high: float, *, step: Any = None, log: bool = False) -> float:
        self.asked.append((name, low, high, step, log))
        if step is not None:
            return low + round(self.share * (high - low) / step) * step
        return low + self.share * (high - low)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.asked.append((name, low, high, step, log))
        return low + round(self.share * (high - low) / step) * step

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.asked.append((name, tuple(choices)))
        return choices[round(self.share * (len(choices) - 1))]


def drawn(declare: Any, share: float = 0.0) -> tuple[Any, Recording]:
    trial = Recording(share)
    hp = HyperParameters()
    hp._draw = lambda parameter: parameter.suggest(trial, hp.param_name(parameter))
    return declare(hp), trial


def test_without_a_trial_every_value_is_the_default() -> None:
    hp = HyperParameters()
    assert hp.Choice("a", [32, 64, 128]) == 32
    assert hp.Choice("b", ["x", "y"], default="y") == "y"
    assert hp.Int("c", 3, 9) == 3
    assert hp.Int("d", 3, 9, default=5) == 5
    assert hp.Float("e", 1e-4, 1e-2, sampling="log", default=1e-3) == 1e-3
    assert hp.Boolean("f") is False
    assert hp.Boolean("g", default=True) is True
    assert hp.Fixed("h", "adam") == "adam"
    assert hp.values == {"a": 32, "b": "y", "c": 3, "d": 5, "e": 1e-3, "f": False, "g": True, "h": "adam"}
    assert (hp["c"], hp.get("h"), "a" in hp, "z" in hp) == (3, "adam", True, False)
    with pytest.raises(KeyError, match="no hyperparameter 'z'"):
        hp.get("z")


@pytest.mark.parametrize(
    ("declare", "asked"),
    [
        (lambda hp: hp.Int("n", 6, 13, step=3), ("n", 6, 12, 3, False)),
        (lambda hp: hp.Int("n", 6, 13), ("n", 6, 13, 1, False)),
        (lambda hp: hp.Int("n", 1, 64, sampling="log"), ("n", 1, 64, 1, True)),
        (lambda hp: hp.Int("n", 2, 33, step=2, sampling="log"), ("n", (2, 4, 8, 16, 32))),
        (lambda hp: hp.Float("n", 0.0, 1.0, step=0.3), ("n", 0.0, pytest.approx(0.9), 0.3, False)),
        (lambda hp: hp.Float("n", 1, 8, step=2, sampling="reverse_log"), ("n", (8.0, 7.0, 5.0, 1.0))),
        (lambda hp: hp.Float("n", 1e-3, 1.0, sampling="log"), ("n", 1e-3, 1.0, None, True)),
        (lambda hp: hp.Float("n", 1.0, 9.0, sampling="reverse_log"), ("n:mirrored", 1.0, 9.0, None, True)),
        (lambda hp: hp.Boolean("n"), ("n", (True, False))),
        (lambda hp: hp.Choice("n", ["a", "b"]), ("n", ("a", "b"))),
    ],
)
def test_what_a_trial_is_asked(declare: Any, asked: tuple[Any, ...]) -> None:
    _, trial = drawn(declare)
    assert trial.asked == [asked]


def test_fixed_asks_nothing_and_a_mirrored_value_is_turned() -> None:
    value, trial = drawn(lambda hp: hp.Fixed("n", 3))
    assert (value, trial.asked) == (3, [])
    assert drawn(lambda hp: hp.Float("n", 1.0, 9.0, sampling="reverse_log"), share=0.25)[0] == 7.0


numerics = st.builds(
    lambda low, width, step, sampling, whole: (low, low + width, step, sampling, whole),
    st.integers(1, 50),
    st.integers(0, 200),
    st.one_of(st.none(), st.integers(2, 7)),
    st.sampled_from(["linear", "log", "reverse_log"]),
    st.booleans(),
)


@given(numerics, st.floats(0, 1))
def test_every_drawn_number_is_one_that_it_contains(numeric: Any, share: float) -> None:
    low, high, step, sampling, is_whole = numeric
    kind = Int if is_whole else Float
    parameter = kind(name="n", min_value=low, max_value=high, step=step, sampling=sampling)
    value = parameter.suggest(Recording(share), "n")
    assert parameter.contains(value)
    assert parameter.contains(parameter.default)
    assert isinstance(value, int) is is_whole
    again = parameter_from(type(parameter).__name__, json.loads(json.dumps(parameter.get_config())))
    assert again.get_config() == parameter.get_config()
    assert again.has_domain_of(parameter)
    if parameter.values is not None:
        assert all(low <= option <= high for option in parameter.values)
        assert len(set(parameter.values)) == len(parameter.values)


@pytest.mark.parametrize(
    ("declare", "error", "message"),
    [
        (lambda hp: hp.Int("n", 5, 1), InvalidArgument, r"min_value=5 must be <= max_value=1"),
        (lambda hp: hp.Int("n", 0, 9, sampling="log"), InvalidArgument, "min_value=0 must be > 0"),
        (lambda hp: hp.Int("n", 1, 9, step=1, sampling="log"), InvalidArgument, "step=1 must be > 1"),
        (lambda hp: hp.Int("n", 1.5, 9), InvalidArgumentType, "min_value=1.5 must be an integer"),
        (lambda hp: hp.Int("n", 1, 9, default=11), InvalidArgument, r"default=11 must be within \[1, 9\]"),
        (lambda hp: hp.Float("n", 0, math.inf), InvalidArgumentType, "finite"),
        (lambda hp: hp.Float("n", 0, 1, sampling="exp"), InvalidArgument, "linear, log, reverse_log"),
        (lambda hp: hp.Float("n", 0, 1, step=0.0), InvalidArgument, "step=0.0 must be > 0"),
        (lambda hp: hp.Choice("n", []), InvalidArgument, "at least one value"),
        (lambda hp: hp.Choice("n", [1, "a"]), InvalidArgumentType, "one type"),
        (lambda hp: hp.Choice("n", [[1], [2]]), InvalidArgumentType, "one type"),
        (lambda hp: hp.Choice("n", "abc"), InvalidArgumentType, "must be a list"),
        (lambda hp: hp.Choice("n", [1, 1]), InvalidArgument, "differ from each other"),
        (lambda hp: hp.Choice("n", ["a"], default="b"), InvalidArgument, "default='b'"),
        (lambda hp: hp.Choice("n", ["a"], ordered=True), InvalidArgument, "needs numbers"),
        (lambda hp: hp.Boolean("n", default="yes"), InvalidArgumentType, "True or False"),
        (lambda hp: hp.Fixed("n", [1]), InvalidArgumentType, "must be a str, int, float or bool"),
        (lambda hp: hp.Int("", 1, 2), InvalidArgumentType, "must be a text"),
    ],
)
def test_what_is_refused(declare: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        declare(HyperParameters())


def test_a_conflicting_redeclaration_says_both() -> None:
    hp = HyperParameters()
    hp.Int("n", 1, 3)
    assert hp.Int("n", 1, 3, default=2) == 1, "the value stands; a default is no conflict"
    with pytest.raises(InvalidArgument, match=r"'n' is declared as Int\(.*max_value=4.*was declared as .*max_value=3"):
        hp.Int("n", 1, 4)
    with pytest.raises(InvalidArgument, match=r"declared as Float.*was declared as Int"):
        hp.Float("n", 1, 3)


def test_scopes() -> None:
    hp = HyperParameters()
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", "a"), hp.name_scope("left"):
        assert hp.Int("n", 1, 3) == 1
        with hp.conditional_scope("n", [3]):
            assert hp.Int("m", 1, 3) is None
    with hp.conditional_scope("kind", ["b"]):
        assert hp.Int("n", 5, 7) is None
    assert [(p.name, [c.name for c in p.conditions]) for p in hp.space] == [
        ("kind", []), ("left/n", ["kind"]), ("left/m", ["kind", "left/n"]), ("n", ["kind"])
    ]  # fmt: skip
    assert hp.values == {"kind": "a", "left/n": 1}
    with pytest.raises(ValueError, match="inactive"):
        hp.get("n")
    assert hp.Int("late", 0, 1, parent_name="kind", parent_values=["a"]) == 0
    assert (hp.is_active("n"), hp.is_active("left/n")) == (False, True)
    with (
        pytest.raises(InvalidArgument, match="'size' was not declared before; known are: kind"),
        hp.conditional_scope("size", [1]),
    ):
        pass
    with pytest.raises(InvalidArgument, match="can never hold"), hp.conditional_scope("kind", ["c"]):
        pass


def test_one_name_under_two_conditions_is_two_hyperparameters() -> None:
    def build(hp: HyperParameters) -> None:
        hp.Choice("kind", ["a", "b"])
        with hp.conditional_scope("kind", ["a"]):
            hp.Choice("size", [1, 2])
        with hp.conditional_scope("kind", ["b"]):
            hp.Choice("size", [3, 4])

    space = discover(build)
    assert [space.param_name(parameter) for parameter in space.space] == ["kind", "size", "size [kind=b]"]
    build(hp := space.fresh({"kind": "b"}))
    assert hp.values == {"kind": "b", "size": 3}


def test_two_that_hold_at_once_under_one_name_are_a_conflict() -> None:
    hp = HyperParameters()
    hp.Boolean("deep", default=True)
    hp.Int("n", 1, 3)
    with hp.conditional_scope("deep", [True]), pytest.raises(InvalidArgument, match="both hold at once"):
        hp.Int("n", 5, 9)


def test_discovery_makes_every_scope_hold_once() -> None:
    held = []

    def build(hp: HyperParameters) -> None:
        hp.Choice("kind", ["a", "b", "c"])
        with hp.conditional_scope("kind", ["b"]):
            hp.Int("n", 1, 3)
        with hp.conditional_scope("n", [2, 3]):
            held.append(hp.Int("m", 1, 2))
        if hp["kind"] == "c":
            hp.Boolean("unseen")

    space = discover(build)
    assert [parameter.name for parameter in space.space] == ["kind", "n", "m"]
    assert 1 in held
    assert len(held) == 3
    assert space.values == {}


def test_config_copies_and_pickles() -> None:
    hp = HyperParameters()
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["b"]):
        hp.Float("x", 0.0, 1.0)
    hp.Boolean("flag")
    hp.Fixed("f", 2.5)
    config = json.loads(json.dumps(hp.get_config()))
    for other in (HyperParameters.from_config(config), pickle.loads(pickle.dumps(hp)), hp.copy(), copy.deepcopy(hp)):
        assert other.get_config() == hp.get_config()
        assert other.values == hp.values
        other.values["kind"] = "b"
        assert hp["kind"] == "a"


def test_what_was_given_goes_before_what_code_declares() -> None:
    given = HyperParameters()
    given.Fixed("lr", 0.5)
    given.override()
    assert given.fresh().Float("lr", 0.0, 1.0) == 0.5


def test_differences() -> None:
    def space(*parameters: Any) -> list[Any]:
        return [Int(name=name, min_value=low, max_value=high) for name, low, high in parameters]

    assert differences(space(("a", 1, 2)), space(("a", 1, 2))) == []
    lines = differences(space(("a", 1, 2), ("b", 1, 2)), space(("a", 1, 3), ("c", 1, 2)))
    assert [line.split(" Int")[0] for line in lines] == ["a was", "b is gone, it was", "c is new:"]


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("loss", "min"), ("val_loss", "min"), ("mean_squared_error", "min"), ("val_mae", "min"),
        ("categorical_crossentropy", "min"), ("accuracy", "max"), ("val_acc", "max"), ("f1_score", "max"),
        ("weighted_accuracy", "max"), ("auc", "max"), ("sparse_top_k_categorical_accuracy", "max"),
        ("cosine_similarity", "max"),
    ],
)  # fmt: skip
def test_directions_that_names_tell(name: str, direction: str) -> None:
    assert objective_from(name) == Objective(name, direction)


@pytest.mark.parametrize("name", ["my_metric", "speed", "accuracy_loss", "space"])
def test_a_direction_that_cannot_be_told_asks_for_an_objective(name: str) -> None:
    with pytest.raises(InvalidArgument, match=rf'tuneflow.Objective\("{name}", "min"\)'):
        objective_from(name)


def test_objectives() -> None:
    assert objective_from(None) == Objective("default_objective", "min")
    assert str(Objective("a", "max")) == 'Objective(name="a", direction="max")'
    assert Objective("a", "max").is_better(2.0, 1.0)
    assert not Objective("a", "max").is_better(math.nan, None)
    with pytest.raises(InvalidArgument, match="direction must be 'min' or 'max'"):
        Objective("a", "up")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentType, match="one objective"):
        objective_from(["a", "b"])
    with pytest.raises(InvalidArgumentType, match="must be the name of a metric"):
        objective_from(3)
