"""Known merges of ids, and every id of a person."""
