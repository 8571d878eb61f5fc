"""Sealed changes and events on their way to Windsor."""
