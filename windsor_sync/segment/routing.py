"""Whether a message from Segment's raw archive is for Windsor: the filters Segment applies before a destination.

The archive holds every message, whomever it was meant for: Segment writes it without looking at the `integrations`
object. Whoever forwards from it has to apply those rules itself, in the order Segment does.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from windsor_sync.segment.calls import Call

ALL_CALLS = frozenset(call.value for call in Call)
_DESTINATION = "Windsor"  # in the integrations object, where names are case-sensitive
_ALIAS = Call.ALIAS.value
_ENGAGE_CALLS = frozenset((Call.IDENTIFY.value, Call.TRACK.value))


class Filtered(StrEnum):
    """The reason why a message is not for Windsor, in the words of Segment's Delivery Overview as far as it has one."""

    UNSUPPORTED_EVENT_TYPE = "UNSUPPORTED_EVENT_TYPE"
    """The wire has no way to say this call."""
    FILTERED_BY_END_USER_CONSENT = "FILTERED_BY_END_USER_CONSENT"
    FILTERED_BY_INTEGRATIONS_OBJECT = "FILTERED_BY_INTEGRATIONS_OBJECT"
    # The rest is ours: Segment has no such rule, or applies it where it gives no code.
    SUPPRESSED = "SUPPRESSED"
    """About a user of whom nothing may be sent any more."""
    CALL_SWITCHED_OFF = "CALL_SWITCHED_OFF"
    """Not among the calls that the settings forward."""
    SYNCED_FROM_SNAPSHOTS = "SYNCED_FROM_SNAPSHOTS"
    """Engage's own call about an audience or computed trait that Windsor learns from its snapshots."""


@dataclass(frozen=True, slots=True)
class Routing:
    """The rules by which a message goes to Windsor or not."""

    calls: frozenset[str] = ALL_CALLS
    """switched on by the settings"""
    supported: frozenset[str] = ALL_CALLS
    """what the wire can say"""
    consent_categories: tuple[str, ...] = ()
    """the categories Windsor is mapped to; a message that carries consent has to carry it for each of them"""
    synced_keys: frozenset[str] = frozenset()
    """trait keys whose values Windsor learns from snapshots"""
    suppressed: Container[str] = frozenset()
    """user ids, or anonymous ids where a user has no other"""
    synced_ids: frozenset[str] = frozenset()
    """Segment's ids of the same audiences and computed traits: their key here may be another than there"""

    def decide(self, message: Mapping[str, Any]) -> Filtered | None:
        """Say why this message must not be sent, or None; it is read as `calls.normalise` leaves it.

        One reason is given, the first in the order of Segment's pipeline. It stops a suppressed user at ingest, before
        any destination is considered; then come the call's type, consent, and the integrations object. An Engage call
        about a synced key is recognised last, so that only what would have been sent twice is counted as such.
        """
        if self.suppressed and self._is_suppressed(message):
            return Filtered.SUPPRESSED
        call = message.get("type")
        if not isinstance(call, str) or call not in self.supported:
            return Filtered.UNSUPPORTED_EVENT_TYPE
        if call not in self.calls:
            return Filtered.CALL_SWITCHED_OFF
        if self.consent_categories and not self._has_consent(message.get("context")):
            return Filtered.FILTERED_BY_END_USER_CONSENT
        integrations = message.get("integrations")
        if integrations and not _is_enabled(integrations):
            return Filtered.FILTERED_BY_INTEGRATIONS_OBJECT
        if (self.synced_keys or self.synced_ids) and call in _ENGAGE_CALLS and self._is_synced(message.get("context")):
            return Filtered.SYNCED_FROM_SNAPSHOTS
        return None

    def _is_suppressed(self, message: Mapping[str, Any]) -> bool:
        """Whether it is about a suppressed user; an alias is about the user it renames too."""
        user_id = message.get("userId")
        return self._is_suppressed_id(message.get("anonymousId") if user_id is None else user_id) or (
            message.get("type") == _ALIAS and self._is_suppressed_id(message.get("previousId"))
        )

    def _is_suppressed_id(self, user_id: Any) -> bool:
        return isinstance(user_id, str) and user_id in self.suppressed

    def _has_consent(self, context: Any) -> bool:
        """Whether the message may be used for every category; without a word on consent nothing is enforced.

        Consent that cannot be read gives none: Segment takes an empty `categoryPreferences` for a no to each.
        """
        consent = context.get("consent") if isinstance(context, dict) else None
        if consent is None:
            return True
        preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
        return isinstance(preferences, dict) and all(
            preferences.get(category) is True for category in self.consent_categories
        )

    def _is_synced(self, context: Any) -> bool:
        """Whether it is Engage's message about a synced key; its class is not compared, which has four spellings or more."""
        personas = context.get("personas") if isinstance(context, dict) else None
        if not isinstance(personas, dict):
            return False
        key, own_id = personas.get("computation_key"), personas.get("computation_id")
        return (isinstance(key, str) and key in self.synced_keys) or (
            isinstance(own_id, str) and own_id in self.synced_ids
        )


def _is_enabled(integrations: Any) -> bool:
    """Return whether the integrations object enables Windsor: its own key decides before `All`; without both it is enabled.

    Options (an object) under Windsor's key are a yes. Any other value that is no boolean says nothing, as if the
    key were absent, so that `All: false` holds against `Windsor: null`. `All` counts in any casing: to take an opt-out for
    none would send what a user has forbidden.
    """
    if not isinstance(integrations, dict):
        return True
    own = integrations.get(_DESTINATION)
    if own is True or isinstance(own, dict):
        return True
    return own is not False and not any(
        value is False and name.lower() == "all" for name, value in integrations.items()
    )
