"""Searching a space: how a trial is trained, and which config comes next."""
