"""What pictures show: for `predict.py`, and for anybody's own code."""
