"""Fixtures for every room."""

from pathlib import Path

import pytest

pytest_plugins = [
    "tests.support.windsor",
    "tests.support.world",
    "tests.support.postgres",
    "tests.support.segment_api",
    "tests.support.s3",
]

SLOW_ROOMS = ("deployment", "packaging", "end_to_end", "chaos", "docs", "airflow")
"""Side by side they come first: one that takes minutes and begins last would have all others wait for it."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the slow rooms; the order within a room stays."""
    tests = config.rootpath / "tests"

    def place(item: pytest.Item) -> int:
        room = Path(item.path).relative_to(tests).parts[0]
        return SLOW_ROOMS.index(room) if room in SLOW_ROOMS else len(SLOW_ROOMS)

    items.sort(key=place)
