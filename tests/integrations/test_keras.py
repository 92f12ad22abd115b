"""Keras 3 on its torch backend: KerasTuner's page, the saver, the callback for plain ``model.fit``."""

from __future__ import annotations

import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tuneflow as tune
from tuneflow.errors import InvalidArgumentType, MetricMissing
from tuneflow.pruners import ASHA

pytestmark = pytest.mark.filterwarnings(
    # Keras's weights files come as HDF5; h5py and NumPy warn of each other.
    "ignore::DeprecationWarning:h5py.*",
    "ignore::DeprecationWarning:keras.*",
)


@pytest.fixture(scope="module", autouse=True)
def _libraries() -> None:
    """Imported when the first of these tests runs, and not by every process that only collects them."""
    global keras, torch, KerasSaver, TorchSaver, TuneCallback
    os.environ["KERAS_BACKEND"] = "torch"
    keras = pytest.importorskip("keras")
    torch = pytest.importorskip("torch")
    from tuneflow_integrations.keras import KerasSaver, TuneCallback
    from tuneflow_integrations.torch_saver import TorchSaver


RNG = np.random.default_rng(0)
X = RNG.random((64, 8, 8, 1), dtype="float32")
Y = RNG.integers(0, 10, (64, 1))


# KerasTuner's page


class Tape:
    """What ``tf.GradientTape`` does, by PyTorch."""

    def __enter__(self) -> Tape:
        self._mode = torch.enable_grad()
        self._mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._mode.__exit__(*error)

    def gradient(self, loss: Any, variables: Any) -> Any:
        return torch.autograd.grad(loss, [variable.value for variable in variables])


class Dataset:
    """What ``tf.data.Dataset`` does, by NumPy."""

    def __init__(self, arrays: Any, size: int = 1) -> None:
        self._arrays, self._size = arrays, size

    @classmethod
    def from_tensor_slices(cls, arrays: Any) -> Dataset:
        return cls(arrays)

    def batch(self, size: int) -> Dataset:
        return Dataset(self._arrays, size)

    def __iter__(self) -> Any:
        for start in range(0, len(self._arrays[0]), self._size):
            yield tuple(array[start : start + self._size] for array in self._arrays)


def tensorflow_in_pytorch() -> types.ModuleType:
    """The few names of TensorFlow's that the page uses."""
    made: Any = types.ModuleType("tensorflow")
    made.function = torch.no_grad()
    made.GradientTape = Tape
    made.data = types.SimpleNamespace(Dataset=Dataset)
    made.math = types.SimpleNamespace(add_n=sum)
    return made


def page() -> str:
    """The page's code, everything but what installs KerasTuner."""
    named = os.environ.get("TUNEFLOW_PAGES")
    roots = [Path(named)] if named else [Path(__file__).resolve().parents[3] / "shared" / "seeds"]
    for root in roots:
        for path in sorted(root.glob("*.txt")):
            text = path.read_text(encoding="utf-8")
            if "class MyHyperModel(keras_tuner.HyperModel)" in text and "my_metric" in text:
                blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
                code = [
                    block for block in blocks if not block.lstrip().startswith(("!", "def fit(self", "for callback"))
                ]
                return "\n".join(code)
    pytest.skip("the page is not here; TUNEFLOW_PAGES names its folder")


def test_the_pages_example(monkeypatch, capsys) -> None:
    code = page()
    monkeypatch.setitem(sys.modules, "keras_tuner", tune)
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow_in_pytorch())
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, "page", "exec"), names)  # the page's own text
    out = capsys.readouterr().out
    tuner = names["tuner"]
    assert [trial.state.name for trial in tuner.study.trials] == ["COMPLETE"] * 2
    assert set(names["best_hps"].values) == {"units", "batch_size", "learning_rate"}
    assert len(re.findall(r"Trial [12] Complete \[00h 00m \d\ds\]\nmy_metric: ", out)) == 2
    assert "Best my_metric So Far: " in out
    assert "Total params" in out
    assert [trial.value for trial in tuner.study.trials] == [
        min(trial.intermediate_values.values()) for trial in tuner.study.trials
    ]
    batches = Dataset((names["x_val"], names["y_val"])).batch(names["best_hps"]["batch_size"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with torch.no_grad():
        losses = [float(loss(labels, names["best_model"](images))) for images, labels in batches]
    assert np.mean(losses) == pytest.approx(tuner.study.best_value, rel=1e-4), "the weights of the best epoch"
    tuner.search_space_summary()
    assert "\nbatch_size (Int)\n" in capsys.readouterr().out, "what only fit declares has joined the space"


# The same by our own means


def epochs(step: Any, validate: Any, model: Any, callbacks: Any, initial_epoch: int, n_epochs: int = 3) -> float:
    """A loop like the page's: trains, validates, tells the callbacks; the best epoch's loss."""
    best = float("inf")
    for callback in callbacks:
        callback.set_model(model)
    for epoch in range(initial_epoch, n_epochs):
        step()
        loss = validate()
        for callback in callbacks:
            callback.on_epoch_end(epoch, logs={"my_metric": loss})
        best = min(best, loss)
    return best


class InKeras(tune.HyperModel):
    def build(self, hp: Any) -> Any:
        inputs = keras.Input(shape=(8, 8, 1))
        x = keras.layers.Flatten()(inputs)
        x = keras.layers.Dense(units=hp.Choice("units", [8, 16]), activation="relu")(x)
        return keras.Model(inputs=inputs, outputs=keras.layers.Dense(10)(x))

    def parameters(self, model: Any) -> Any:
        return [weight.value for weight in model.trainable_weights]

    def fit(self, hp: Any, model: Any, x: Any, y: Any, callbacks: Any = (), initial_epoch: int = 0, **_: Any) -> float:
        batch_size = hp.Int("batch_size", 16, 64, step=16, default=32)
        optimizer = torch.optim.Adam(self.parameters(model), hp.Float("learning_rate", 1e-3, 1e-1, sampling="log"))
        images, labels = torch.as_tensor(x), torch.as_tensor(y)[:, 0]

        def loss_of(some: Any) -> Any:
            return torch.nn.functional.cross_entropy(model(images[some]), labels[some])

        def step() -> None:
            for start in range(0, len(images), batch_size):
                optimizer.zero_grad()
                loss_of(slice(start, start + batch_size)).backward()
                optimizer.step()

        def validate() -> float:
            with torch.no_grad():
                return float(loss_of(slice(None)))

        return epochs(step, validate, model, callbacks, initial_epoch)

    def loss(self, model: Any) -> float:
        with torch.no_grad():
            out = model(torch.as_tensor(X))
            return float(torch.nn.functional.cross_entropy(out, torch.as_tensor(Y)[:, 0]))


class InTorch(InKeras):
    """The same HyperModel with a torch module in place of Keras's model."""

    def build(self, hp: Any) -> Any:
        units = hp.Choice("units", [8, 16])
        layers = (torch.nn.Flatten(), torch.nn.Linear(64, units), torch.nn.ReLU(), torch.nn.Linear(units, 10))
        return torch.nn.Sequential(*layers)

    def parameters(self, model: Any) -> Any:
        return model.parameters()


@pytest.mark.parametrize(("model", "file"), [(InKeras(), "model.weights.h5"), (InTorch(), "weights.pt")])
def test_a_custom_loop(model: Any, file: str) -> None:
    tuner = tune.RandomSearch(model, tune.Objective("my_metric", "min"), max_trials=3, seed=0, verbose=0)
    tuner.search(x=X, y=Y)
    best = tuner.get_best_hyperparameters()[0]
    assert set(best.values) == {"units", "batch_size", "learning_rate"}
    assert best["batch_size"] in (16, 32, 48, 64)
    assert model.loss(tuner.get_best_models()[0]) == pytest.approx(tuner.study.best_value, rel=1e-5)
    assert (Path(tuner.project_dir) / f"{tuner.study.best_trial.number:05d}" / "model" / file).exists()


@pytest.mark.parametrize("model", [InKeras(), InTorch()], ids=["keras", "torch"])
def test_a_promoted_configuration_goes_on_from_its_weights(model: Any) -> None:
    trained: list[float] = []

    class Watched(type(model)):  # type: ignore[misc]
        def fit(self, hp: Any, model: Any, *args: Any, initial_epoch: int = 0, **kwargs: Any) -> float:
            if initial_epoch:
                trained.append(self.loss(model))
            return super().fit(hp, model, *args, initial_epoch=initial_epoch, **kwargs)

    tuner = tune.Hyperband(Watched(), tune.Objective("my_metric", "min"), max_epochs=3, max_trials=3, seed=0, verbose=0)
    tuner.search(X, Y)
    promoted = [trial for trial in tuner.study.trials if len(trial.intermediate_values) == 3]
    assert len(promoted) == 1
    assert trained == [pytest.approx(promoted[0].intermediate_values[1], rel=1e-5)]


def compiled(hp: Any) -> Any:
    """As in most of KerasTuner's pages: not built until it sees data, trained by ``model.fit``."""
    model = keras.Sequential([keras.layers.Dense(hp.Int("units", 2, 4)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(hp.Float("lr", 1e-3, 1e-1, sampling="log")), "mse")
    return model


def test_model_fit_as_it_is() -> None:
    x = X[:, :, 0, 0]
    y = x.sum(axis=1, keepdims=True)
    tuner = tune.Hyperband(compiled, "val_loss", max_epochs=3, max_trials=4, seed=1, verbose=0)
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    lengths = sorted(len(trial.intermediate_values) for trial in tuner.study.trials)
    assert lengths == [1, 1, 3, 3]
    model = tuner.get_best_models()[0]
    assert model.evaluate(x, y, verbose=0) == pytest.approx(tuner.study.best_value, rel=1e-4)
    assert int(model.optimizer.iterations) == 3 * 2, "the optimizer was paused and resumed with it"


# The saver


def small(rate: float = 0.1) -> Any:
    model = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(rate), "mse")
    return model


def test_the_saver_brings_weights_and_optimizer_back(tmp_path) -> None:
    x = X[:, :, 0, 0]
    saved = small()
    saved.fit(x, x[:, :1], epochs=2, verbose=0)
    KerasSaver().save(saved, tmp_path)
    loaded, changed = small(), small(rate=0.5)
    KerasSaver().load(loaded, tmp_path)
    KerasSaver().load_changed(changed, tmp_path)
    for other in (loaded, changed):
        for mine, theirs in zip(saved.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert int(other.optimizer.iterations) == int(saved.optimizer.iterations) == 4
    assert float(loaded.optimizer.learning_rate) == pytest.approx(0.1)
    assert float(changed.optimizer.learning_rate) == pytest.approx(0.5)
    saved.fit(x, x[:, :1], epochs=1, verbose=0, shuffle=False)
    loaded.fit(x, x[:, :1], epochs=1, verbose=0, shuffle=False)
    np.testing.assert_allclose(saved.get_weights()[0], loaded.get_weights()[0], rtol=1e-6)


def test_a_model_without_weights_leaves_nothing(tmp_path) -> None:
    KerasSaver().save(small(), tmp_path)
    assert not list(tmp_path.iterdir())
    assert KerasSaver().load(small(), tmp_path).built is False


def test_torch_modules(tmp_path) -> None:
    saved, fresh = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    saved(torch.rand(4, 3))
    TorchSaver().save(saved, tmp_path)
    TorchSaver().load(fresh, tmp_path)
    assert torch.equal(saved.running_mean, fresh.running_mean)


# The callback


def train(config: dict[str, Any]) -> None:
    x = X[:, :, 0, 0]
    TuneCallback({"loss": "val_loss"}).fit(
        small(config["lr"]), x, x[:, :1], validation_data=(x, x[:, :1]), epochs=4, verbose=0
    )


def test_plain_model_fit_under_tune_run() -> None:
    analysis = tune.run(
        train,
        {"lr": tune.loguniform(1e-4, 1e-1)},
        metric="loss",
        mode="min",
        num_samples=4,
        executor="inline",
        scheduler=ASHA(max_resource=4, reduction_factor=2, promote=True),
        seed=0,
        verbose=0,
    )
    steps = [[result["training_iteration"] for result in trial.results] for trial in analysis.trials]
    assert all(course == list(range(1, len(course) + 1)) for course in steps)
    assert {len(course) for course in steps} == {1, 2, 4}
    assert set(analysis.best_result) >= {"loss"}
    assert "val_loss" not in analysis.best_result


def test_plain_model_fit_in_a_loop_of_ones_own() -> None:
    x = X[:, :, 0, 0]
    study = tune.create_study(
        {}, metric="loss", mode="min", pruner=ASHA(max_resource=2, promote=True, reduction_factor=2)
    )
    trial = study.ask()
    callback = TuneCallback("loss", trial=trial)
    callback.fit(small(), x, x[:, :1], epochs=5, verbose=0)
    assert trial.is_paused
    assert callback.decision is trial.decision
    other = study.ask()
    TuneCallback("loss", trial=other).fit(small(1e-6), x, x[:, :1], epochs=5, verbose=0)
    again = study.ask(new=False)
    assert again is not None
    model = small()
    history = TuneCallback(trial=again, checkpoint=False).fit(model, x, x[:, :1], epochs=5, verbose=0)
    assert again.last_step == 2
    assert history.epoch == [1], "from the epoch where it was paused"
    assert int(model.optimizer.iterations) == 2 * 2, "and with its optimizer"


def test_a_metric_that_keras_does_not_know() -> None:
    x = X[:, :, 0, 0]
    callback = TuneCallback("val_loss", trial=tune.create_study({}).ask())
    with pytest.raises(MetricMissing, match="'val_loss' was not reported; the report holds: loss"):
        callback.fit(small(), x, x[:, :1], epochs=1, verbose=0)
    with pytest.raises(TypeError, match="metrics=3"):
        TuneCallback(3)  # type: ignore[arg-type]


def test_memory_of_models_is_given_back() -> None:
    seen: list[int] = []

    class Many(tune.HyperModel):
        def build(self, hp: Any) -> Any:
            return keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("n", 1, 3))])

        def fit(self, hp: Any, model: Any, **_: Any) -> float:
            seen.append(int(re.search(r"\d*$", model.layers[0].name)[0] or 0))  # type: ignore[index]
            return 1.0

    tune.RandomSearch(Many(), "loss", max_trials=4, verbose=0, keep_models=1).search()
    assert len(set(seen)) == 1, "names count anew: Keras holds nothing of the models before"


def test_arguments_of_tunes_callback_say_what_to_write() -> None:
    from tuneflow_integrations.keras import TuneCallback

    with pytest.raises(InvalidArgumentType, match=r"frequency \(leave it out: .*checkpoint_freq.*, on \(leave it out"):
        TuneCallback("loss", frequency=2, on="epoch_end")
