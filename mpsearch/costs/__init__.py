"""Costs: numbers with a unit, from site facts and configs alone."""
