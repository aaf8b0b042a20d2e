"""Policies as values: when an environment may change, how, what is checked, and what happens when it goes wrong.

Start with `policy` (what a policy says) and `choice` (which one counts). Nothing here does I/O or reads a clock: others
carry out what these values say.
"""
