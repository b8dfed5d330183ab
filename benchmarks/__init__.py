"""Measurements; `make bench` runs them. Nothing here is installed."""
