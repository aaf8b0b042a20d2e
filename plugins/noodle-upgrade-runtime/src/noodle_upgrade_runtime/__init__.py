"""Swap code in a running Python process: patch packages in place, or flip whole generations behind handles."""
