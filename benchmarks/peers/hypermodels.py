"""HyperModels that KerasTuner and tuneflow search alike; only the base class is each one's own."""

from __future__ import annotations

from typing import Any

import keras


def scoped(base: type) -> Any:
    """Every kind of hyperparameter, scopes inside scopes, and one hyperparameter that only ``fit`` declares."""

    class Scoped(base):
        def build(self, hp: Any) -> Any:
            hp.Choice("kind", ["mlp", "cnn"])
            with hp.name_scope("opt"):
                hp.Float("lr", 1e-4, 1e-2, sampling="log", default=1e-3)
                hp.Boolean("nesterov")
            with hp.conditional_scope("kind", ["mlp"]):
                hp.Int("layers", 1, 3)
                with hp.conditional_scope("layers", [2, 3]):
                    hp.Int("units", 32, 128, step=32)
                with hp.conditional_scope("layers", [3]):
                    hp.Float("dropout", 0.0, 0.5, step=0.25, default=0.25)
            with hp.conditional_scope("kind", ["cnn"]):
                hp.Int("filters", 8, 64, step=2, sampling="log")
                hp.Int("width", 16, 64)
            hp.Fixed("epochs", 3)
            hp.Int("plain", 1, 9)
            hp.Float("mirrored", 1, 8, sampling="reverse_log", step=2)
            hp.Choice("scale", [1.0, 2.5], ordered=False, default=2.5)
            return keras.Sequential([keras.layers.Dense(1)])

        def fit(self, hp: Any, model: Any, *args: Any, callbacks: Any = None, **kwargs: Any) -> float:
            hp.Choice("late", [4, 5])
            return float(hp.get("plain"))

    return Scoped()


def trivial(base: type) -> Any:
    """Two hyperparameters, a model of one layer, no training."""

    class Trivial(base):
        def build(self, hp: Any) -> Any:
            self.x = hp.Float("x", -1.0, 1.0) ** 2 + hp.Int("n", 1, 1000) / 1000
            return keras.Sequential([keras.layers.Dense(1)])

        def fit(self, hp: Any, model: Any, *args: Any, callbacks: Any = None, **kwargs: Any) -> float:
            return float(self.x)

    return Trivial()
