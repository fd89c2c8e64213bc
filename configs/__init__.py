"""Experiment records: one YAML per training run."""
