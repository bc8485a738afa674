"""KerasTuner, both ways: its tuners run in a search, and Optuna runs inside KerasTuner."""
