"""The demo: a shop's real purchases, its audiences and its events."""
