"""`windsor.yaml` and the environment, checked once, every mistake in one go: `load()` returns `Settings`."""

from windsor_sync.settings.catalogue import describe
from windsor_sync.settings.choices import AliasPolicy, Column, DiffEngine, Emails, IdentifyBy, SnapshotFormat, WireName
from windsor_sync.settings.durations import format_duration, parse_duration
from windsor_sync.settings.environment import CONFIG_VARIABLE
from windsor_sync.settings.loading import DEFAULT_FILE, load
from windsor_sync.settings.mistakes import InvalidSettings, Mistake, SettingPlace
from windsor_sync.settings.model import (
    Audience,
    Computation,
    ComputedTrait,
    Defaults,
    Destination,
    Events,
    Schedule,
    Segment,
    Settings,
    Snapshot,
)
from windsor_sync.settings.partial import Examined, examined
from windsor_sync.settings.template import TEMPLATE

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_FILE",
    "TEMPLATE",
    "AliasPolicy",
    "Audience",
    "Column",
    "Computation",
    "ComputedTrait",
    "Defaults",
    "Destination",
    "DiffEngine",
    "Emails",
    "Events",
    "Examined",
    "IdentifyBy",
    "InvalidSettings",
    "Mistake",
    "Schedule",
    "Segment",
    "SettingPlace",
    "Settings",
    "Snapshot",
    "SnapshotFormat",
    "WireName",
    "describe",
    "examined",
    "format_duration",
    "load",
    "parse_duration",
]
