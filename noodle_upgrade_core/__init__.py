"""Change any part of a running Python system live, gated and reversible: the core."""
