"""Muon for convolutional networks: Keras' own optimizer, on convolution kernels too."""

from collections.abc import Collection
from typing import Any

import keras


class ConvMuon(keras.optimizers.Muon):  # type: ignore[misc]
    """Orthogonalises the update of every kernel but the first and the last; AdamW does the rest.

    Keras' Muon leaves convolution kernels to AdamW. Here each is taken as the matrix of its
    (height x width x input channels) rows and its output channels, as the authors of Muon do.

    Args:
        learning_rate: Number or schedule; of AdamW's size, since updates are scaled to match.
        weight_decay: Decoupled weight decay, the same in both parts.
        outer_kernels: Paths of the kernels that AdamW trains: the first, which sees pixels, and
            the last, which gives the classes.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers"; the scale is that of Liu et
    al. 2025, "Muon is Scalable for LLM Training", section 2.2.
    """

    def __init__(
        self, learning_rate: Any, *, weight_decay: float, outer_kernels: Collection[str]
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, adam_weight_decay=weight_decay)
        self._outer_kernels = outer_kernels

    def _should_use_adamw(self, variable: Any) -> bool:
        return variable.path in self._outer_kernels or len(variable.shape) not in (2, 4)

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign_add(m, gradient + m * (self.momentum - 1))
        direction = keras.ops.reshape(gradient + self.momentum * m, (-1, variable.shape[-1]))
        update = self.lr_adjust(self.zeropower_via_newtonschulz5(direction, self.ns_steps))
        self.assign_sub(variable, lr * keras.ops.reshape(update, variable.shape))
