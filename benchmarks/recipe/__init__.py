"""Changes to the default recipe of the `cnn` space, measured one at a time."""
