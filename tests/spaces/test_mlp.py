from dataclasses import asdict

import pytest

from spaces.baselines import PUBLISHED_FOR
from spaces.mlp import MlpConfig, MlpSpace
from spaces.mlp_model import build_model
from tests.spaces.random_params import random_params, with_values

SHAPE = (PUBLISHED_FOR.image_shape, PUBLISHED_FOR.classes)
SPACE = MlpSpace(**asdict(PUBLISHED_FOR))


def test_params_restore_configurations():
    for config in (SPACE.default, *SPACE.baselines.values()):
        assert MlpConfig.sample(with_values(config.params())) == config
    for values in random_params(lambda hp: MlpConfig.sample(hp, PUBLISHED_FOR), 50):
        assert MlpConfig.from_params(values).params() == values


def test_the_baseline_has_the_published_number_of_parameters():
    assert build_model(SPACE.baselines["mlp"], *SHAPE).count_params() == 101_770


def test_build_answers_with_the_layers_asked_for():
    config = MlpConfig(dense=(32, 16), batch_norm="after", dropout=0.1)
    model = SPACE.build(with_values(config.params()))
    assert [layer.name for layer in model.layers][1:] == [
        *("flatten", "dense_1", "activation_dense_1", "batch_norm_dense_1", "dropout_dense_1"),
        *("dense_2", "activation_dense_2", "batch_norm_dense_2", "dropout_logits", "logits"),
    ]


def test_a_configuration_is_described_in_one_line():
    assert SPACE.describe(SPACE.default.params()) == (
        "dense 256; dense 256; activation relu, batch norm before, dropout 0.2, optimizer muon, "
        "learning rate 0.012, weight decay 0.001, schedule one cycle, label smoothing 0.15, "
        "batch size 128, weight averaging, augmentation flip"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dense": ()}, r"MlpConfig\.dense_layers is 0; it must be a whole number in 1\.\.3\."),
        ({"dense": (2000,)}, r"MlpConfig\.dense_1 is 2000; .* 16\.\.1024\."),
        ({"dense": (16,), "activation": "x"}, r"MlpConfig\.activation is 'x'; it must be relu"),
        ({"dense": (16,), "batch_norm": "x"}, r"MlpConfig\.batch_norm is 'x'; it must be none"),
        ({"dense": (16,), "dropout": 0.9}, r"MlpConfig\.dropout is 0\.9; .* 0\.\.0\.5"),
    ],
)
def test_a_wrong_value_is_refused_with_the_allowed_ones(fields, message):
    with pytest.raises(ValueError, match=message):
        MlpConfig(**fields)
