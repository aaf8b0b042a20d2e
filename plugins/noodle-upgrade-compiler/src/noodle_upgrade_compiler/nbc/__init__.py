"""NBC, the byte code of Noodle's own stack machine: how it is written, how it is checked, how it runs."""
