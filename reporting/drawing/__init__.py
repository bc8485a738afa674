"""Figures of the chapters, in one style."""
