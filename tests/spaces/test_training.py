import keras_tuner
import pytest

from spaces.training import AUGMENTATIONS, TrainingConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"optimizer": "lion"},
            r"TrainingConfig\.optimizer is 'lion'; use one of adam, adamw, muon, sgd",
        ),
        ({"schedule": "step"}, r"schedule is 'step'; use one of constant, cosine, one_cycle\."),
        ({"augmentation": "mixup"}, r"augmentation is 'mixup'; use one of none, flip, flip_shift"),
        ({"learning_rate": 0.0}, r"TrainingConfig\.learning_rate is 0\.0; it must be above 0\."),
        ({"weight_decay": -1.0}, r"weight_decay is -1\.0; it must be 0 or more\."),
        ({"label_smoothing": 1.0}, r"label_smoothing is 1\.0; it must be in \[0, 1\)\."),
        ({"batch_size": 0}, r"batch_size is 0; it must be 1 or more\."),
        ({"weight_decay": 0.1}, r"weight_decay is 0\.1 with adam, .*; use optimizer='adamw'\."),
    ],
)
def test_a_wrong_value_is_refused_with_the_allowed_ones(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**fields)


def test_values_of_any_space_are_read_and_other_names_ignored():
    values = {"batch_size": 256, "augmentation": "flip", "units": 7}
    assert TrainingConfig.from_values(values) == TrainingConfig(batch_size=256, augmentation="flip")


@pytest.mark.parametrize(
    ("mirror", "kinds"),
    [
        (True, ["none", "flip", "flip_shift", "flip_shift_erase"]),
        (False, ["none", "shift", "shift_erase"]),
        (None, list(AUGMENTATIONS)),
    ],
)
def test_images_are_mirrored_only_where_it_may_make_sense(mirror, kinds):
    hp = keras_tuner.HyperParameters()
    config = TrainingConfig.sample(hp, mirror)
    (question,) = (one for one in hp.space if one.name == "augmentation")
    assert question.values == kinds
    assert config.augmentation == ("none" if mirror is False else "flip")
