"""Durations survive writing, a valid file arrives as written, and no file brings more than a ConfigError."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from settings_folder import Folder

from windsor_sync.errors import ConfigError
from windsor_sync.segment.trait_keys import key_problem, trait_key
from windsor_sync.settings import (
    TEMPLATE,
    InvalidSettings,
    Mistake,
    Settings,
    describe,
    examined,
    format_duration,
    load,
    parse_duration,
)

lines = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
percents = st.none() | st.integers(0, 100) | st.floats(0, 100)
seconds = st.integers(60, 40 * 86_400)


@given(st.integers(0, 10**9).map(lambda amount: timedelta(seconds=amount)))
def test_a_duration_that_is_written_is_read_as_the_same(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_iso_8601_and_the_short_form_mean_the_same(days: int, hours: int, minutes: int, secs: int) -> None:
    duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=secs)
    assert parse_duration(f"P{days}DT{hours}H{minutes}M{secs}S") == duration
    assert parse_duration(f"{days}d{hours}h{minutes}m{secs}s") == duration


@given(st.text(max_size=8) | st.text("PT0123456789dhms", max_size=8))
def test_what_is_no_duration_is_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_duration(text) >= timedelta(0)


handling: dict[str, Any] = {
    "identify_by": st.sampled_from(["user_id", "anonymous_id"]),
    "emails": st.sampled_from(["first", "last", "all"]),
    "max_exited_percent": percents,
    "max_entered_percent": percents,
}
snapshots: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"path": lines.map(lambda name: f"/in/x{name.replace('/', '')}/*.parquet")},
    optional={
        "columns": st.dictionaries(st.sampled_from(["user_id", "email", "value"]), lines),
        "max_malformed_percent": st.integers(0, 100),
    },
) | st.fixed_dictionaries({"connection": lines, "query": lines})
computations: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": lines.filter(lambda name: key_problem(trait_key(name)) is None), "snapshot": snapshots},
    optional={
        "id": st.none() | lines,
        "reuse_key": st.booleans(),
        "enabled": st.booleans(),
        "delivery_shards": st.integers(1, 64),
        **handling,
    },
)
files: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "destination": st.fixed_dictionaries(
            {"url": st.sampled_from(["https://windsor.example/in", "http://127.0.0.1:8474/"])},
            optional={
                "name": lines,
                "wire": st.sampled_from(["segment_webhook", "windsor_hook"]),
                "requests_per_second": st.integers(1, 10**6) | st.floats(0.001, 1e6),
                "max_in_flight": st.integers(1, 1024),
            },
        )
    },
    optional={
        "space": lines,
        "schedule": st.fixed_dictionaries({}, optional={"audiences": seconds, "events": seconds}),
        "defaults": st.fixed_dictionaries({}, optional={**handling, "guard_floor": st.integers(0, 10**6)}),
        "audiences": st.lists(computations, max_size=4, unique_by=lambda item: trait_key(item["name"])),
    },
)


@effort(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(file=files, flow=st.booleans())
def test_a_valid_file_arrives_as_it_was_written(shared_folder: Folder, file: dict[str, Any], flow: bool) -> None:
    schedule = {key: format_duration(timedelta(seconds=amount)) for key, amount in file.get("schedule", {}).items()}
    written = file | ({"schedule": schedule} if schedule else {})
    settings = shared_folder.load(yaml.safe_dump(written, allow_unicode=True, default_flow_style=flow))
    _agree(file, settings)


def _agree(file: dict[str, Any], settings: Settings) -> None:
    """Check each value of the file against the settings."""
    assert settings.space == file.get("space")
    assert {key: getattr(settings.destination, key) for key in file["destination"]} == file["destination"]
    for key, amount in file.get("schedule", {}).items():
        assert getattr(settings.schedule, key) == timedelta(seconds=amount)
    defaults = file.get("defaults", {})
    assert {key: getattr(settings.defaults, key) for key in defaults} == defaults
    for item, audience in zip(file.get("audiences", []), settings.audiences, strict=True):
        expected = {**{key: defaults[key] for key in handling if key in defaults}, **item}
        snapshot = expected.pop("snapshot")
        assert {key: getattr(audience, key) for key in expected} == expected
        assert {key: getattr(audience.snapshot, key) for key in snapshot} == snapshot


KEYS = [row["name"].rpartition(".")[2].removesuffix("[]") for row in describe()] + ["token"]
trees: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)


@effort(max_examples=150, deadline=None)
@given(tree=trees)
def test_no_tree_of_values_brings_anything_but_a_configuration_error(shared_folder: Folder, tree: Any) -> None:
    with suppress(ConfigError):
        shared_folder.load(yaml.safe_dump(tree, allow_unicode=True))


@effort(max_examples=150, deadline=None)
@given(tree=trees, url=st.sampled_from(["http://127.0.0.1:1/", "no address"]))
def test_of_any_tree_that_is_wrong_the_rest_is_examined_and_every_mistake_named(
    shared_folder: Folder, tree: Any, url: str
) -> None:
    good = {"name": "Good", "snapshot": {"path": "good.csv"}}
    file = (tree if isinstance(tree, dict) else {}) | {"destination": {"url": url}, "audiences": [tree, good]}
    shared_folder.file.write_text(yaml.safe_dump(file, allow_unicode=True), encoding="utf-8")
    try:
        named: tuple[Mistake, ...] = ()
        load(shared_folder.file, {})
    except InvalidSettings as refused:
        named = refused.mistakes
    found = examined(shared_folder.file, {})
    assert found.mistakes == named
    assert found.settings is not None
    assert "Good" in {audience.name for audience in found.settings.audiences}
    assert (found.settings.destination.url == url) == (url != "no address")


@effort(max_examples=150, deadline=None)
@given(text=st.text(max_size=80) | st.text(":-[]{}&*!|>%@'\"\\#?,\n\t ab<1", max_size=60) | st.binary(max_size=40))
def test_no_text_brings_anything_but_a_configuration_error(shared_folder: Folder, text: str | bytes) -> None:
    with suppress(ConfigError):
        shared_folder.load(text)


@effort(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damage_to_the_template_brings_anything_but_a_configuration_error(
    shared_folder: Folder, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(TEMPLATE)))
    end = data.draw(st.integers(start, min(start + 60, len(TEMPLATE))))
    inserted = data.draw(
        st.sampled_from(["", "*a", "&a ", "!x ", "[", "}", ": ", "\n", "- ", '"\\ud800"', "\t", "<<: "])
    )
    with suppress(ConfigError):
        shared_folder.load(TEMPLATE[:start] + inserted + TEMPLATE[end:])
