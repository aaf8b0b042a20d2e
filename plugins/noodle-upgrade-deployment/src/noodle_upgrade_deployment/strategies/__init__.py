"""Strategies: generators of steps, without I/O or a clock; each is a driver of `noodle_upgrade.strategies`."""
