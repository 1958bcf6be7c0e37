"""Baselines of a study: what a mixed config is compared with, from the float model to 8-bit training."""
