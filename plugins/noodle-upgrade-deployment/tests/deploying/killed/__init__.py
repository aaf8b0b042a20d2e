"""Deployments that are killed at every transition, and what has to be true afterwards."""
