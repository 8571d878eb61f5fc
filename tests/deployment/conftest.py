"""What takes minutes by the clock, because processes die and are missed, is run by `make chaos`."""

from tests.chaos.processes import IS_CHAOS

collect_ignore = [] if IS_CHAOS else ["test_two_workers.py"]
