"""Published systems to compare with, as configurations of the `cnn` space."""

from dataclasses import dataclass
from typing import Final

from spaces import DataShape
from spaces.cnn import CnnConfig, ConvBlock

# Fashion-MNIST: what these systems were published for.
PUBLISHED_FOR: Final = DataShape((28, 28, 1), classes=10, mirror=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A published system and our configuration of it.

    Args:
        name: Unique; names its row in tables.
        config: Its configuration in the `cnn` space.
        architecture: The layers as published.
        epoch_cost: CPU seconds of an epoch over those of the space's default, to plan with. Source:
            `python -m benchmarks.throughput --images 4096`, mean of bfloat16 and `--isa avx2`.
        published_accuracy: Published test accuracy in [0, 1]; None if no number is given.
        published: The published test accuracy in its authors' words.
        note: Remarks for a reader who compares.
    """

    name: str
    config: CnnConfig
    architecture: str
    epoch_cost: float
    published_accuracy: float | None = None
    published: str = "no number"
    note: str = ""


# The publications use Adam, cross-entropy and no augmentation. They do not give these; we chose a
# constant learning rate of 0.001 (Keras' default), batch size 128 and the dropout rates of bn-cnn.
BASELINES: Final = (
    Baseline(
        name="bn-cnn",
        config=CnnConfig(
            blocks=(ConvBlock(filters=32), ConvBlock(filters=64)),
            conv_batch_norm="after",
            conv_dropout=0.25,
            dense=(254, 512),
            dense_batch_norm="after",
            head_dropout=0.5,
        ),
        architecture=(
            "conv 32 3x3 same ReLU, BN, pool, dropout; conv 64 same; flatten; dense 254 ReLU, BN; "
            "dense 512 ReLU, BN; dropout; dense 10"
        ),
        epoch_cost=0.7,
        published='no number ("high")',
        note=(
            "The published parameter count implies that BN and pooling also follow the second "
            "convolution. The dropout rates, 0.25 and 0.5, are our choice."
        ),
    ),
    Baseline(
        name="vgg-cnn",
        config=CnnConfig(
            blocks=(ConvBlock(filters=32, convs=2), ConvBlock(filters=64, convs=2)),
            dense=(128,),
        ),
        architecture="conv 32 x2, pool, conv 64 x2, pool (3x3, ReLU), flatten, dense 128, dense 10",
        epoch_cost=1.5,
        published_accuracy=0.9254,
        published="92.54 % (loss 0.276)",
        note="The description is ambiguous; this is the usual reading. Same padding is our choice.",
    ),
    Baseline(
        name="vgg-cnn-literal",
        config=CnnConfig(
            blocks=(
                ConvBlock(filters=32),
                ConvBlock(filters=32),
                ConvBlock(filters=64),
                ConvBlock(filters=64),
            ),
            dense=(128,),
        ),
        architecture=(
            "conv 32, pool, conv 32, pool, conv 64, pool, conv 64, pool (same padding), flatten, "
            "dense 128, dense 10"
        ),
        epoch_cost=0.4,
        note="The description of vgg-cnn read literally; the published accuracy is listed there.",
    ),
    Baseline(
        name="plain-cnn",
        config=CnnConfig(
            blocks=(
                ConvBlock(filters=32),
                ConvBlock(filters=64),
                ConvBlock(filters=64, pool="none"),
            ),
            padding="valid",
            dense=(64,),
        ),
        architecture=(
            "conv 32, pool, conv 64, pool, conv 64 (3x3 valid), flatten, dense 64, dense 10"
        ),
        epoch_cost=0.35,
        note="Published with 10 epochs of training.",
    ),
    Baseline(
        name="lenet-bn",
        config=CnnConfig(
            blocks=(ConvBlock(filters=6), ConvBlock(filters=16)),
            kernel_size=5,
            conv_batch_norm="after",
            dense=(128, 32),
            head_dropout=0.2,
            head_dropout_placement="each",
        ),
        architecture=(
            "conv 6 5x5 same ReLU, BN, pool; conv 16 5x5 same, BN, pool; flatten; "
            "dense 128, dropout 0.2; dense 32, dropout 0.2; dense 10"
        ),
        epoch_cost=0.2,
        published_accuracy=0.90,
        published="90 % (another line says about 89 %)",
        note="Published with about 85K parameters; the layers as listed have 107,598.",
    ),
    Baseline(
        name="mlp",
        config=CnnConfig(blocks=(), dense=(128,)),
        architecture="flatten, dense 128 ReLU, dense 10 logits",
        epoch_cost=0.04,
        published_accuracy=0.85,
        published="over 85 %",
    ),
)
