"""HyperModels of KerasTuner's guides, and its own applications."""

import keras
import keras_tuner
import tensorflow as tf
from keras import layers


class TuneModelTraining(keras_tuner.HyperModel):
    """As in "Getting started with KerasTuner": no input shape, and `fit` asks questions too."""

    def build(self, hp):
        model = keras.Sequential()
        model.add(layers.Flatten())
        for index in range(hp.Int("num_layers", 1, 3)):
            model.add(
                layers.Dense(
                    units=hp.Int(f"units_{index}", min_value=32, max_value=512, step=32),
                    activation=hp.Choice("activation", ["relu", "tanh"]),
                )
            )
        if hp.Boolean("dropout"):
            model.add(layers.Dropout(rate=0.25))
        model.add(layers.Dense(10, activation="softmax"))
        learning_rate = hp.Float("lr", min_value=1e-4, max_value=1e-2, sampling="log")
        model.compile(
            optimizer=keras.optimizers.Adam(learning_rate=learning_rate),
            loss="categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    def fit(self, hp, model, x, y, validation_data=None, **kwargs):
        if hp.Boolean("normalize"):
            x = layers.Normalization()(x)
        return model.fit(
            x, y, validation_data=validation_data, shuffle=hp.Boolean("shuffle"), **kwargs
        )


class CustomTrainingLoop(keras_tuner.HyperModel):
    """As in "Tune hyperparameters in your custom training loop": the model is not compiled.

    The loop calls callbacks only at the end of an epoch, and ignores their errors.
    """

    epochs_begun = 0

    def build(self, hp):
        inputs = keras.Input(shape=(28, 28, 1))
        x = layers.Flatten()(inputs)
        x = layers.Dense(hp.Choice("units", [8, 16, 32]), activation="relu")(x)
        return keras.Model(inputs=inputs, outputs=layers.Dense(10)(x))

    def fit(self, hp, model, x, y, validation_data, callbacks=None, **kwargs):
        batch_size = hp.Int("batch_size", 32, 128, step=32, default=64)
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size)
        optimizer = keras.optimizers.Adam(hp.Float("learning_rate", 1e-4, 1e-2, sampling="log"))
        loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        for callback in callbacks:
            callback.set_model(model)
        for epoch in range(kwargs["epochs"]):
            CustomTrainingLoop.epochs_begun += 1
            for images, labels in data:
                with tf.GradientTape() as tape:
                    loss = loss_of(labels, model(images, training=True))
                gradients = tape.gradient(loss, model.trainable_variables)
                optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            accuracy = keras.metrics.SparseCategoricalAccuracy()
            accuracy.update_state(validation_data[1], model(validation_data[0]))
            for callback in callbacks:
                try:
                    callback.on_epoch_end(epoch, logs={"val_accuracy": accuracy.result()})
                except Exception:
                    continue
        return float(loss)


class ReturnsItsAccuracy(CustomTrainingLoop):
    """Calls no callback and returns its accuracy."""

    def fit(self, hp, model, x, y, validation_data, callbacks=None, **kwargs):
        super().fit(hp, model, x, y, validation_data, callbacks=[], epochs=1)
        predicted = model.predict(validation_data[0], verbose=0).argmax(axis=1)
        return {"val_accuracy": float((predicted == validation_data[1]).mean())}


class SaysNothing(CustomTrainingLoop):
    """Calls no callback and returns a loss, which KerasTuner allows as the objective."""

    def fit(self, hp, model, x, y, validation_data, callbacks=None, **kwargs):
        return super().fit(hp, model, x, y, validation_data, callbacks=[], epochs=1)


class TooLargeSometimes(keras_tuner.HyperModel):
    """As in "Handling failed trials": `build` refuses some models."""

    def build(self, hp):
        model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten()])
        for index in range(hp.Int("layers", 1, 2)):
            model.add(layers.Dense(hp.Int(f"units_{index}", 10, 1000, step=10)))
        model.add(layers.Dense(10, activation="softmax"))
        if model.count_params() > 400_000:
            raise keras_tuner.errors.FailedTrialError("Model too large.")
        model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


def _resized() -> keras.KerasTensor:
    image = layers.Resizing(32, 32)(keras.Input((28, 28, 1)))
    return layers.Concatenate()([image, image, image])


class Xception(keras_tuner.applications.HyperXception):
    """KerasTuner's own, for grayscale images of 28 x 28 pixels."""

    def __init__(self):
        super().__init__(input_tensor=_resized(), classes=10)


class Scopes(keras_tuner.HyperModel):
    """Every kind of question, every scale, nested names, and values read by name."""

    def build(self, hp):
        hp.Int("plain", 1, 9)
        hp.Int("stepped", 10, 95, step=10)
        hp.Int("log", 1, 1000, sampling="log")
        hp.Int("doubling", 2, 64, step=2, sampling="log")
        hp.Float("half_steps", 0.0, 0.9, step=0.3)
        hp.Float("reversed", 0.001, 1.0, sampling="reverse_log")
        hp.Float("times_ten", 1e-4, 1.0, step=10, sampling="log")
        hp.Fixed("classes", 10)
        kind = hp.Choice("kind", ["conv", "dense"])
        with hp.conditional_scope("kind", ["conv"]):
            if kind == "conv":
                hp.Choice("kernel", [1, 3, 5], default=3)
        with hp.name_scope("head"):
            hp.Boolean("batch_norm", default=True)
            hp.Choice("rate", [0.1, 0.2])
        assert hp.get("kind") == kind
        assert hp.get("head/rate") in (0.1, 0.2)
        model = keras.Sequential(
            [keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(hp.get("classes"))]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
        return model


def build_model(hp):
    """A function, KerasTuner's shortest form; its choices depend on another hyperparameter."""
    units = hp.Choice("units", [8, 16] if hp.Boolean("small") else [32, 64])
    model = keras.Sequential(
        [
            keras.Input((28, 28)),  # as in Keras' tutorial, without a channel axis
            layers.Flatten(),
            layers.Dense(units, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss=["categorical_crossentropy"], metrics=["accuracy"])
    return model


@keras.saving.register_keras_serializable()
class Subclassed(keras.Model):
    """As in Keras' guide to subclassing: no input shape, no `build`."""

    def __init__(self, units=8, **more):
        super().__init__(**more)
        self.units = units
        self.network = keras.Sequential(
            [layers.Flatten(), layers.Dense(units, activation="relu"), layers.Dense(10)]
        )

    def call(self, inputs):
        return keras.ops.softmax(self.network(inputs))

    def get_config(self):
        return {"units": self.units}


def build_subclassed(hp):
    model = Subclassed(hp.Int("units", 8, 64))
    model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def returns_nothing(hp):
    hp.Int("units", 1, 9)
