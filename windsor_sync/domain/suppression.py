"""Users who must not be told anything, by the hash of their id."""

from dataclasses import dataclass, field

from windsor_sync.segment.routing import suppression_hash


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The users who must not be told anything any more."""

    hashes: frozenset[str] = field(default_factory=frozenset)
    """hex SHA-256 of salt and user id, or anonymous id where a user has no other"""
    salt: str = ""

    def __contains__(self, user_id: object) -> bool:
        """Whether the user is one of them."""
        if not self.hashes or user_id is None:
            return False
        return suppression_hash(self.salt, str(user_id)) in self.hashes
