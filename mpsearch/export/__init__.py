"""Exports: files that hold the searched model, verified before they are kept."""
