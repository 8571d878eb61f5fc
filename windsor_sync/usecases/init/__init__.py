"""Discovers the snapshots and the event archive beside windsor.yaml for `init`, and writes the file; asks nobody."""
