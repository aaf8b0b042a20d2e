"""The commands `noodle deploy …`."""
