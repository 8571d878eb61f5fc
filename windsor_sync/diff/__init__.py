"""told × snapshot → changes: one SQL statement, run by the engine that fits the size."""
