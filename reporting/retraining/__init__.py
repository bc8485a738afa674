"""Train again what a report needs: which trainings, on which workers, kept for good."""
