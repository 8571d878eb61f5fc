"""Seals a source's rows into a snapshot: a file of our own that never changes."""
