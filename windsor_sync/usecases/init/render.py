"""The `windsor.yaml` of `init`: the template, with what was found in the place of its examples; every comment stays."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from windsor_sync.settings.insertion import scalar
from windsor_sync.settings.template import TEMPLATE
from windsor_sync.usecases.init.snapshots import FoundSnapshot

_NAME, _KEY = "Order Completed Last 30days", "order_completed_last_30days"
_PATH = f"snapshots/{_KEY}/*.csv"
_FORMAT = "engage_csv         #"
_DATED = '# taken_at: "%Y-%m-%d"'
_AUDIENCE = re.compile(rf"  - name: {_NAME}\n(?:    .*\n)+")
_TRAIT = re.compile(r"# computed_traits:\n#   - name: .*\n(?:#  .*\n)+")


def windsor_yaml(snapshots: Sequence[FoundSnapshot], archive: PurePosixPath | None) -> str:
    """The file as it is to be written; with nothing found, the template."""
    audiences = sorted((one for one in snapshots if not one.is_trait), key=lambda one: one.key)
    traits = sorted((one for one in snapshots if one.is_trait), key=lambda one: one.key)
    text = TEMPLATE
    if audiences or traits:
        text = _with_audiences(text, audiences)
    if traits:
        text = _TRAIT.sub(lambda example: _traits(traits, example[0]), text)
    if archive is not None:
        text = text.replace("# events:\n#   archive: s3://bucket/segment-logs/", _events(archive))
    return text


def _with_audiences(text: str, audiences: Sequence[FoundSnapshot]) -> str:
    """Put the first audience in the example's place, comments and all; without any, the example becomes a comment."""
    example = _AUDIENCE.search(text)
    assert example is not None
    if not audiences:
        commented = "".join(f"  # {line[2:]}\n" for line in example[0].splitlines())
        return text.replace(f"audiences:\n{example[0]}", f"audiences: []\n{commented}")
    first, *others = audiences
    own = example[0].replace(f"name: {_NAME}\n", f"name: {scalar(first.name)}\n{_identity(first)}")
    own = own.replace(_PATH, scalar(first.pattern)).replace(_FORMAT, f"{first.format.value:19}#")
    if first.dated:
        own = own.replace(_DATED, f'taken_at: "{first.dated}"')
    text = text.replace(f"Segment's rule: {_KEY}.", f"Segment's rule: {first.key}.")
    return text.replace(example[0], own + "".join(map(_entry, others)))


def _traits(traits: Sequence[FoundSnapshot], example: str) -> str:
    rest = "".join(f"#  {line[1:]}\n" for line in example.splitlines()[1:])
    return f"computed_traits:\n{''.join(map(_entry, traits))}  # as for audiences, and besides:\n{rest}"


def _entry(one: FoundSnapshot) -> str:
    return (
        f"  - name: {scalar(one.name)}\n{_identity(one)}    snapshot:\n"
        f"      path: {scalar(one.pattern)}\n      format: {one.format.value}\n"
        + (f'      taken_at: "{one.dated}"\n' if one.dated else "")
    )


def _identity(one: FoundSnapshot) -> str:
    return "    identify_by: anonymous_id    # its rows name no user id\n" if one.by_anonymous_id else ""


def _events(archive: PurePosixPath) -> str:
    return f"events:\n  archive: {scalar(f'{archive}/')}"
