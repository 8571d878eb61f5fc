"""`python -m windsor_sync.cli`."""

from windsor_sync.cli import main

main()
