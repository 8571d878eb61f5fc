"""Writes the file of `init`: the template with what was found in the place of its examples; and says what is left to do."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from windsor_sync.domain.labels import counted
from windsor_sync.settings.insertion import scalar
from windsor_sync.settings.template import TEMPLATE
from windsor_sync.usecases.init.discover import Discovery
from windsor_sync.usecases.init.snapshots import FoundSnapshot

BY_HAND = "add what you need by hand (docs/sources/files.md)"
_AUDIENCES = re.compile(r"^audiences:\n(  - name: .*\n(?:    .*\n)+)", re.MULTILINE)


class Notice(NamedTuple):
    """One thing to say."""

    subject: str
    text: str


def windsor_yaml(discovery: Discovery, snapshots: Sequence[FoundSnapshot]) -> str:
    """The file as it is to be written. Every comment stays; an example that is replaced becomes one."""
    text = TEMPLATE
    ordered = sorted(snapshots, key=lambda one: one.key)
    audiences = "".join(_entry(one) for one in ordered if not one.is_trait)
    traits = "".join(_entry(one) for one in ordered if one.is_trait)
    if snapshots:
        own = f"audiences:\n{audiences}" if audiences else "audiences: []\n"
        text = _AUDIENCES.sub(lambda example: own + re.sub(r"(?m)^  ", "#   ", example[1]), text)
    if traits:
        text = text.replace("# computed_traits:\n", f"computed_traits:\n{traits}")
    if discovery.archive:
        archive = scalar(f"{discovery.archive}/")
        text = text.replace("# events:\n#   archive: s3://bucket/segment-logs/", f"events:\n  archive: {archive}")
    return text


def _entry(one: FoundSnapshot) -> str:
    return (
        f"  - name: {scalar(one.name)}\n"
        + ("    identify_by: anonymous_id    # its rows name no user id\n" if one.by_anonymous_id else "")
        + f"    snapshot:\n      path: {scalar(one.pattern)}\n      format: {one.format.value}\n"
        + (f'      taken_at: "{one.dated}"\n' if one.dated else "")
    )


def found_notices(discovery: Discovery, snapshots: Sequence[FoundSnapshot]) -> Iterator[Notice]:
    """Say what was found."""
    for one in snapshots:
        kind = "computed trait" if one.is_trait else "audience"
        text = f"{one.pattern} ({one.format.value}; the newest file is of {one.taken_at:%Y-%m-%d %H:%M} UTC)"
        yield Notice(f"{kind} {one.key}", text)
    if discovery.archive:
        yield Notice("events", f"{discovery.archive}/ is Segment's archive of events: they are forwarded")


def left_notices(discovery: Discovery, snapshots: Sequence[FoundSnapshot], problems: Sequence[str]) -> Iterator[Notice]:
    """Say what is left for a person."""
    if snapshots:
        yield Notice("names", "of audiences and computed traits are those of the files: compare them with Segment's")
    else:
        yield Notice("audiences", f"no snapshot was found here, and the file has an example: {BY_HAND}")
    for problem in problems:
        yield Notice("not used", problem)
    if discovery.unnamed:
        names = counted(discovery.unnamed, "name")
        yield Notice("left out", f"{names} with one of @ * ? [ ] :: or an invisible sign: rename what you need of them")
    if discovery.unseen:
        folders = counted(discovery.unseen, "folder")
        yield Notice("not looked at", f"{folders}, closed to this user, large, deep, of one day or too many: {BY_HAND}")
    if discovery.archive:
        yield Notice("events.since", "the first day to forward; without it every day of the archive is")
    yield Notice("destination", "your Windsor's url, and its key in WINDSOR_API_KEY; until then it is the sandbox")
