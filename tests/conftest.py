"""Fixtures for every room."""

pytest_plugins = [
    "tests.support.windsor",
    "tests.support.world",
    "tests.support.postgres",
    "tests.support.segment_api",
    "tests.support.s3",
]
