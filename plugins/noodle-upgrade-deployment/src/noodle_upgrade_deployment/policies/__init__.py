"""Policies as values: when an environment may change, how, what is checked, and what happens when it goes wrong.

Start with `policy` (what a policy says) and `choice` (which one counts). Nothing here carries anything out: others do
what these values say. `lint` and `explain` ask the installed strategies and judges; nothing else reaches outside.
"""
