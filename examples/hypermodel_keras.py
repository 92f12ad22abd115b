"""A HyperModel of a Keras model, as in KerasTuner: random search over scikit-learn's digits, median stopping.

Needs ``pip install 'tuneflow[demo,keras]'``; runs on Keras's torch backend. Run it with
``python examples/hypermodel_keras.py``, shorter with ``--quick``.
"""

# needs: keras, torch, sklearn

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tuneflow as tune
from tuneflow.pruners import MedianStopping

N_TRIALS, N_EPOCHS = (3, 2) if "--quick" in sys.argv else (8, 5)


class Digits(tune.HyperModel):
    """A small network; the rate of its dropout counts only where it has one."""

    def build(self, hp):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((64,))])
        model.add(keras.layers.Dense(hp.Int("units", 16, 128, step=2, sampling="log"), activation="relu"))
        use_dropout = hp.Boolean("dropout")
        with hp.conditional_scope("dropout", [True]):
            rate = hp.Float("rate", 0.1, 0.5)
        if use_dropout:
            model.add(keras.layers.Dropout(rate))
        model.add(keras.layers.Dense(10, activation="softmax"))
        optimizer = keras.optimizers.Adam(hp.Float("lr", 1e-3, 1e-1, sampling="log"))
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, batch_size=hp.Choice("batch_size", [16, 32, 64]), **kwargs)


pixels, digits = load_digits(return_X_y=True)
x, x_valid, y, y_valid = train_test_split(pixels / 16, digits, test_size=0.25, stratify=digits, random_state=0)

tuner = tune.HyperTuner(
    Digits(),
    "val_accuracy",
    sampler="tpe",
    pruner=MedianStopping(),
    max_trials=N_TRIALS,
    seed=0,
    project_name="digits_keras",
    overwrite=True,
)
tuner.search_space_summary()
tuner.search(x, y, validation_data=(x_valid, y_valid), epochs=N_EPOCHS, verbose=2)

print(tuner.get_best_hyperparameters()[0].values)
loss, accuracy = tuner.get_best_models()[0].evaluate(x_valid, y_valid, verbose=0)
print(f"accuracy of the best model: {accuracy:.3f}")
