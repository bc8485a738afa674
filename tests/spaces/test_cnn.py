import dataclasses
import subprocess
import sys
from dataclasses import asdict

import keras_tuner
import pytest

from spaces.baselines import PUBLISHED_FOR
from spaces.cnn import CnnConfig, CnnSpace, ConvBlock
from spaces.training import TrainingConfig
from tests.spaces.random_params import random_params, with_values

RECIPE = CnnConfig(
    blocks=(
        ConvBlock(filters=16, convs=2),
        ConvBlock(filters=64, pool="average"),
        ConvBlock(filters=64, convs=2),
        ConvBlock(filters=128, convs=2, pool="none"),
    ),
    conv_batch_norm="before",
    head="global_max",
    head_dropout=0.25,
    training=TrainingConfig(
        optimizer="muon",
        learning_rate=0.012,
        schedule="one_cycle",
        weight_decay=1e-3,
        label_smoothing=0.15,
        batch_size=128,
        weight_averaging=True,
        augmentation="flip",
    ),
)
SPACE = CnnSpace(**asdict(PUBLISHED_FOR))
NAMED = SPACE.baselines | SPACE.portfolio


def multiplications(config: CnnConfig) -> int:
    """Multiply-accumulates of one image, of all convolutions and dense layers."""
    size, channels, total = 28, 1, 0
    for block in config.blocks:
        for conv in range(block.convs):
            if conv == 0 and config.padding == "valid":
                size -= config.kernel_size - 1
            assert size >= 1
            total += size**2 * config.kernel_size**2 * channels * block.filters
            channels = block.filters
        if block.pool != "none":
            size //= 2
        assert size >= 1
    features = size**2 * channels if config.head == "flatten" else channels
    for width in (*config.dense, 10):
        total += features * width
        features = width
    return total


def test_the_default_is_the_recipe_and_what_keras_tuner_starts_from():
    assert SPACE.default == RECIPE
    assert CnnConfig.sample(keras_tuner.HyperParameters()) == RECIPE
    assert CnnConfig.from_params({}) == RECIPE


@pytest.mark.parametrize("name", NAMED)
def test_params_restore_a_named_configuration(name):
    config = NAMED[name]
    hp = with_values(config.params())
    assert CnnConfig.sample(hp) == config
    assert hp.values == config.params()
    assert CnnConfig.from_params(config.params()) == config


def test_params_restore_random_configurations_and_hold_only_active_names():
    for values in random_params(lambda hp: CnnConfig.sample(hp, PUBLISHED_FOR), 200):
        hp = with_values(values)
        config = CnnConfig.sample(hp, PUBLISHED_FOR)
        assert hp.values == values == config.params(PUBLISHED_FOR)
        assert CnnConfig.from_params(values) == config
        assert CnnConfig.from_params(values, PUBLISHED_FOR) == config


def test_every_random_configuration_is_possible_and_affordable():
    points = random_params(lambda hp: CnnConfig.sample(hp, PUBLISHED_FOR), 500, seed=1)
    costs = sorted(multiplications(CnnConfig.from_params(values)) for values in points)
    assert costs[475] < 60e6
    assert costs[-1] < 160e6


@pytest.mark.parametrize("pool", ["max", "none"])
@pytest.mark.parametrize(
    ("count", "kernel_size", "padding"),
    [(2, 5, "same"), (2, 5, "valid"), (3, 3, "same"), (3, 3, "valid"), (4, 3, "same")],
)
def test_the_deepest_and_widest_corner_keeps_its_maps(count, kernel_size, padding, pool):
    widest = (
        ConvBlock(filters=32, convs=2),
        ConvBlock(filters=96, convs=2),
        ConvBlock(filters=128, convs=3, pool=pool),
        ConvBlock(filters=192, convs=3, pool=pool),
    )
    config = CnnConfig(blocks=widest[:count], kernel_size=kernel_size, padding=padding)
    assert multiplications(config) < 115e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"blocks": (ConvBlock(filters=16),) * 7},
            r"CnnConfig\.blocks is 7; .* 2\.\.6, or 0 or 1\.",
        ),
        (
            {"blocks": (ConvBlock(filters=100),)},
            r"CnnConfig\.filters_1 is 100; it must be 6, 16 or 32\.",
        ),
        ({"blocks": (ConvBlock(filters=16, convs=3),)}, r"\.convs_1 is 3; .* 1\.\.2\."),
        (
            {"blocks": (ConvBlock(filters=16, pool="none"),)},
            r"CnnConfig\.pool_1 is 'none'; it must be max or average\.",
        ),
        ({"kernel_size": 4}, r"CnnConfig\.kernel_size is 4; it must be 3, or 5\."),
        (
            {"blocks": RECIPE.blocks[:3], "kernel_size": 5},
            r"kernel_size is 5, but it has an effect only when blocks is 1 or 2; leave",
        ),
        ({"padding": "full"}, r"CnnConfig\.padding is 'full'; it must be same, or valid\."),
        (
            {
                "blocks": RECIPE.blocks,
                "padding": "valid",
            },
            r"padding is 'valid', but it has an effect only when blocks is 1, 2 or 3; leave",
        ),
        ({"conv_batch_norm": "both"}, r"conv_batch_norm is 'both'; .* before or after, or none\."),
        ({"residual": 1}, r"CnnConfig\.residual is 1; it must be True or False\."),
        ({"conv_dropout": 0.6}, r"conv_dropout is 0\.6; .* in 0\.\.0\.5 in steps of 0\.05\."),
        ({"conv_dropout": 0.12}, r"conv_dropout is 0\.12; .* in steps of 0\.05\."),
        ({"activation": "tanh"}, r"activation is 'tanh'; it must be relu, silu or elu\."),
        ({"head": "mean"}, r"head is 'mean'; .* flatten, global_average or global_max\."),
        ({"blocks": (), "head": "global_max"}, r"head is 'global_max', but .* blocks is 1, 2, 3"),
        ({"dense": (8,)}, r"CnnConfig\.dense_1 is 8; .* 16\.\.512\."),
        ({"dense": (16, 16, 16)}, r"CnnConfig\.dense_layers is 3; .* 0\.\.2\."),
        ({"dense_batch_norm": "after"}, r"dense_batch_norm is 'after', but .* dense_layers is 1"),
        ({"dense": (16,), "dense_batch_norm": "x"}, r"dense_batch_norm is 'x'; it must be none"),
        ({"head_dropout": -0.1}, r"head_dropout is -0\.1; .* 0\.\.0\.5"),
        (
            {"dense": (16,), "head_dropout_placement": "each"},
            r"head_dropout_placement is 'each', but it has an effect only when dense_layers is 2;",
        ),
        ({"dense": (16, 16), "head_dropout_placement": "x"}, r"is 'x'; it must be last or each\."),
        (
            {"training": TrainingConfig(learning_rate=1.0)},
            r"CnnConfig\.learning_rate is 1\.0; it must be a number in 0\.0002\.\.0\.02\.",
        ),
        (
            {"training": TrainingConfig(optimizer="sgd", learning_rate=0.1)},
            r"CnnConfig\.sgd_weight_decay is 0\.0; it must be a number in 1e-05\.\.0\.005\.",
        ),
        ({"training": TrainingConfig(batch_size=32)}, r"batch_size is 32; .* 64, 128 or 256\."),
    ],
)
def test_a_wrong_value_is_refused_with_the_allowed_ones(change, message):
    with pytest.raises(ValueError, match=message):
        CnnConfig(**{"blocks": (ConvBlock(filters=16),)} | change)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"blokcs": 2}, r"params\.blokcs is 2, but it is not a hyperparameter of this space;"),
        (
            {"blocks": 1, "filters_2": 64},
            r"filters_2 is 64, but it has an effect only when blocks is 2",
        ),
        ({"dense_layers": 1, "dense_1": 32.0}, r"params\.dense_1 is 32\.0; it must be a whole num"),
        ({"batch_size": 64.0}, r"params\.batch_size is 64\.0; it must be 64, 128 or 256\."),
        ({"blocks": 1.0}, r"params\.blocks is 1\.0; it must be a whole number .*, or 0 or 1\."),
        ({"blocks": True}, r"params\.blocks is True; it must be a whole number"),
    ],
)
def test_params_that_are_no_point_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        CnnConfig.from_params(params)


def test_params_of_a_keras_tuner_trial_may_hold_its_own_entries():
    assert CnnConfig.from_params({"tuner/epochs": 3}) == RECIPE


def test_sgd_has_its_own_rates():
    training = TrainingConfig(optimizer="sgd", learning_rate=0.1, weight_decay=5e-4)
    params = dataclasses.replace(RECIPE, training=training).params()
    assert params["sgd_learning_rate"] == 0.1
    assert params["sgd_weight_decay"] == 5e-4
    assert not {"learning_rate", "weight_decay"} & params.keys()
    assert SPACE.training(with_values(params)) == training


def test_a_configuration_is_described_in_one_line():
    assert SPACE.describe(RECIPE.params()) == (
        "conv 16 x2, max pool; conv 64, average pool; conv 64 x2, max pool; conv 128 x2; "
        "conv batch norm before, head global max, activation relu, head dropout 0.25, "
        "optimizer muon, learning rate 0.012, weight decay 0.001, schedule one cycle, "
        "label smoothing 0.15, batch size 128, weight averaging, augmentation flip"
    )
    assert SPACE.describe(NAMED["lenet-bn"].params()) == (
        "conv 6, max pool; conv 16, max pool; dense 128; dense 32; kernel size 5, padding same, "
        "conv batch norm after, head flatten, head dropout placement each, activation relu, "
        "head dropout 0.2, optimizer adam, learning rate 0.001, schedule constant, batch size 128"
    )


def test_asking_and_describing_import_neither_keras_nor_tensorflow():
    code = (
        "import sys, spaces, spaces.cnn, spaces.mlp, spaces.baselines, spaces.training\n"
        "for name in spaces.SPACES:\n"
        "    space = spaces.load_space(name, spaces.baselines.PUBLISHED_FOR)\n"
        "    space.describe(space.default.params())\n"
        "print({'keras', 'tensorflow', 'keras_tuner', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
