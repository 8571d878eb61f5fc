"""Segment Engage audiences and computed traits as user properties in Windsor."""

__version__ = "0.1.0"
