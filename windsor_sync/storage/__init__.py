"""The file store, scratch folders and the embedded engine."""
