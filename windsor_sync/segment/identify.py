"""The identify call by which Engage tells a destination that a user's audience or computed trait has a new value."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

from windsor_sync.segment.calls import Call, JsonValue, json_text, utf8
from windsor_sync.segment.trait_keys import TraitKey, key_problem

LIBRARY_NAME = "windsor_sync"
"""Goes into context.library without a version, so that a change has the same bytes in every release."""


class ComputationClass(StrEnum):
    AUDIENCE = "audience"
    TRAIT = "trait"


@dataclass(frozen=True, slots=True)
class EngageComputation:
    """An audience or computed trait as an identify names it. Raises ValueError for a key that none may have."""

    key: TraitKey
    id: str
    """As in the app's address: `aud_…`, or `tra_…` for a computed trait."""
    computation_class: ComputationClass
    space_id: str

    def __post_init__(self) -> None:
        if problem := key_problem(self.key):
            raise ValueError(problem)


@dataclass(frozen=True, slots=True)
class Identity:
    """The user of a call. Raises ValueError without any id, or with an empty one: Segment refuses such a call."""

    user_id: str | None
    anonymous_id: str | None
    email: str | None
    """Left out of the call when unknown or empty."""

    def __post_init__(self) -> None:
        if (self.user_id is None and self.anonymous_id is None) or self.user_id == "" or self.anonymous_id == "":
            raise ValueError("an identity needs a user id or an anonymous id, and neither may be empty")


def identify(
    computation: EngageComputation, identity: Identity, value: JsonValue, *, message_id: str, timestamp: datetime
) -> dict[str, JsonValue]:
    """Build the identify that gives one user one trait: a boolean for an audience, any JSON for a computed trait.

    Null overwrites a computed trait. Raises TypeError for an audience's value that is not a boolean (Segment takes
    `"true"` for undetermined), ValueError for a timestamp without a zone.
    """
    _check_value(computation, value)
    message: dict[str, JsonValue] = {"type": Call.IDENTIFY.value}
    if identity.user_id is not None:
        message["userId"] = identity.user_id
    if identity.anonymous_id is not None:
        message["anonymousId"] = identity.anonymous_id
    traits: dict[str, JsonValue] = {computation.key: value}
    if identity.email:
        traits["email"] = identity.email
    return {
        **message,
        "traits": traits,
        **_constant_part(computation),
        "messageId": message_id,
        "timestamp": _utc_milliseconds(timestamp),
    }


class IdentifyTemplate:
    """Writes the identify calls of one computation: the bytes of `encode(identify(…))` in less than half the time."""

    __slots__ = ("_after_traits", "_computation", "_traits")

    def __init__(self, computation: EngageComputation) -> None:
        self._computation = computation
        self._traits = f',"traits":{{{json_text(computation.key)}:'
        self._after_traits = f'}},{json_text(_constant_part(computation))[1:-1]},"messageId":'

    def render(self, identity: Identity, value: JsonValue, *, message_id: str, timestamp: datetime) -> bytes:
        """Write the call as it goes over the wire; raises as `identify` and `encode` do."""
        user_id, anonymous_id, email = identity.user_id, identity.anonymous_id, identity.email
        return utf8(
            f'{{"type":"{Call.IDENTIFY}"'
            + ("" if user_id is None else f',"userId":{json_text(user_id)}')
            + ("" if anonymous_id is None else f',"anonymousId":{json_text(anonymous_id)}')
            + f"{self._traits}{self._value(value)}"
            + (f',"email":{json_text(email)}' if email else "")
            + f'{self._after_traits}{json_text(message_id)},"timestamp":"{_utc_milliseconds(timestamp)}"}}'
        )

    def _value(self, value: JsonValue) -> str:
        _check_value(self._computation, value)
        if value is True or value is False:  # nearly every message: no need to set up a JSON encoder
            return "true" if value else "false"
        return json_text(value)


def _check_value(computation: EngageComputation, value: JsonValue) -> None:
    if computation.computation_class is ComputationClass.AUDIENCE and not isinstance(value, bool):
        raise TypeError(f"audience {computation.key!r}: membership is a boolean, not {type(value).__name__}")


def _constant_part(computation: EngageComputation) -> dict[str, JsonValue]:
    """Say which computation speaks, and that it speaks to Windsor alone."""
    return {
        "context": {
            "personas": {
                "computation_class": computation.computation_class.value,
                "computation_id": computation.id,
                "computation_key": computation.key,
                "namespace": computation.space_id,
                "space_id": computation.space_id,
            },
            "library": {"name": LIBRARY_NAME},
        },
        "integrations": {"All": False, "Windsor": True},
    }


@lru_cache(maxsize=64)
def _utc_milliseconds(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a message's timestamp needs a time zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
