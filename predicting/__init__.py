"""Predictions: classify image files of any kind with a saved model."""

from predicting.images import load_image
from predicting.prediction import Prediction, predict

__all__ = ["Prediction", "load_image", "predict"]
