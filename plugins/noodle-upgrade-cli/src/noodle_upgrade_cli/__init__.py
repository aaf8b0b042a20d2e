"""The `noodle` command: plan, start, watch and undo live upgrades of a running Python program."""
