"""The picture of a trial's training."""

import io

from PIL import Image

from search.training.learning_curve import draw_learning_curve


def test_a_curve_of_any_length_is_a_picture() -> None:
    epoch = {"accuracy": 0.8, "val_accuracy": 0.82, "loss": 0.5, "val_loss": 0.45}
    for history in ([], [epoch], [epoch, {"val_accuracy": 0.83}]):
        image = Image.open(io.BytesIO(draw_learning_curve(history, 7, initial_epoch=2)))
        assert image.size == (800, 320)
