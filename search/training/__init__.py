"""Train one model, fast and reproducibly."""
