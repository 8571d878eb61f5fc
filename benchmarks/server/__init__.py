"""Windsors for measuring: one that is never the bottleneck, and one that is slow and moody as asked."""
