"""Users who must not be told anything, by a keyed hash of their id: without the key nobody can try ids against it."""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

from windsor_sync.segment.calls import utf8

_BLOCK_BYTES = 64
"""HMAC with SHA-256 pads its key to that length (RFC 2104)."""


@dataclass(frozen=True, slots=True)
class SuppressionHash:
    """The hash by which a suppressed user is kept: hex HMAC-SHA256 of the hash of the installation's id and the user's."""

    salt: str
    key: bytes = field(repr=False)
    """at most 64 bytes"""

    def of(self, user_id: str) -> str:
        """Return the hash of an id."""
        return keyed(self.key, salted(self.salt, user_id))

    @property
    def pads(self) -> tuple[str, str]:
        """Return the key as HMAC uses it, inside and outside, in hex: an engine without HMAC joins it to what it hashes."""
        key = self.key.ljust(_BLOCK_BYTES, b"\0")
        return bytes(byte ^ 0x36 for byte in key).hex(), bytes(byte ^ 0x5C for byte in key).hex()


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The users who must not be told anything any more."""

    hashes: frozenset[str] = frozenset()
    hash: SuppressionHash = field(default_factory=lambda: SuppressionHash("", b""))

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.hashes)

    def __contains__(self, user_id: object) -> bool:
        """Whether the user is one of them, by the user id, or by the anonymous id of a user without one."""
        if not self.hashes or user_id is None:
            return False
        return self.hash.of(str(user_id)) in self.hashes


def salted(salt: str, user_id: str) -> str:
    """Hash an id without a key: hex SHA-256 of the salt and the id."""
    return sha256(utf8(salt + user_id)).hexdigest()


def keyed(key: bytes, text: str) -> str:
    """Hash a text with a key: hex HMAC-SHA256."""
    return hmac.digest(key, utf8(text), sha256).hex()


def keyed_sql(
    salted_id: str, inside: str, outside: str, sha256: str = "sha256({})", to_bytes: str = "encode({})"
) -> str:
    """Return the SQL of the same hash over the SQL of a salted one.

    The pads are SQL for hex text. `sha256` and `to_bytes` are an engine's own; without them it is DuckDB.
    """
    digest = sha256.format(f"unhex({inside}) || {to_bytes.format(salted_id)}")
    return sha256.format(f"unhex({outside}) || unhex({digest})")
