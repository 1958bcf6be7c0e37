"""A study in optuna-dashboard: a readable view of it, which nothing in a browser can change but its notes."""
