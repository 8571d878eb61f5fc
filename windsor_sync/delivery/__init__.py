"""Brings messages to Windsor and reports what became of each."""
