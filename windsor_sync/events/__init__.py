"""Ordinary events on their way: what is taken in from the archive, and the outbox they wait in."""
