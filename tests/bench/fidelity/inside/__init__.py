"""What runs in a case's own interpreter, beside the package; of the standard library only, but for the engine."""
