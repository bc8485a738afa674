"""Engines, which propose the trials of a search: Optuna and KerasTuner behind one protocol."""
