"""Our own nouns: changes, runs and their counts, the guard, progress, who is one person. Nothing here reads or writes."""
