"""The test split, the scores of models on it, and what they show."""
