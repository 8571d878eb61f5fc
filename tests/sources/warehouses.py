"""Warehouses to read from: a file of SQLite, and a database on a real PostgreSQL server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, create_engine, text

from windsor_sync.sources.warehouse import EngageTables, ProfilesSync, Query, Wanted, WarehouseSource

PROFILES_SYNC = """
    CREATE TABLE profile_traits (canonical_segment_id text, vip boolean, revenue numeric, colour text, merged_to text);
    CREATE TABLE user_identifiers (canonical_segment_id text, type text, value text, seq bigint);
    CREATE TABLE profile_merges (canonical_segment_id text, segment_id text, seq bigint);
"""
ROWS = """
    CREATE TABLE user_traits (canonical_segment_id text, name text, value text, seq bigint);
    CREATE TABLE user_identifiers (canonical_segment_id text, type text, value text, seq bigint);
    CREATE TABLE profile_merges (canonical_segment_id text, segment_id text, seq bigint);
"""
DBT = """
    CREATE TABLE profile_traits (canonical_segment_id text, vip boolean, merged_to text);
    CREATE TABLE external_id_mapping (
        canonical_segment_id text, external_id_type text, external_id_value text, external_id_hash text, timestamp text);
    CREATE TABLE id_graph (segment_id text, canonical_segment_id text, timestamp text);
"""
ENGAGE = """
    CREATE TABLE users (id text, email text, vip boolean, revenue numeric, received_at text);
    CREATE TABLE identifies (id text, user_id text, anonymous_id text, email text, vip boolean, received_at text);
"""


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A database, and the schema in it where tables go by default."""

    url: str
    schema: str

    def run(self, script: str) -> None:
        """Run statements that end with a semicolon."""
        engine = create_engine(self.url)
        with engine.begin() as connection:
            for statement in filter(str.strip, script.split(";")):
                connection.execute(text(statement))
        engine.dispose()

    def add(self, table: str, columns: str, *rows: Sequence[Any]) -> None:
        """Insert rows; `columns` is a list of names with commas."""
        engine = create_engine(self.url)
        names = [name.strip() for name in columns.split(",")]
        statement = text(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(f':{name}' for name in names)})")
        with engine.begin() as connection:
            connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])
        engine.dispose()

    def connect(self, connection: str) -> Engine:
        assert connection == "warehouse"
        return create_engine(self.url)

    def query(
        self,
        sql: str,
        columns: Mapping[str, str] | None = None,
        value_of: str | None = None,
        members_of: str | None = None,
    ) -> WarehouseSource:
        return WarehouseSource("warehouse", Query(sql, columns or {}, value_of, members_of), self.connect)

    def profiles(self, key: str = "vip", *, trait: bool = False, column: str | None = None) -> WarehouseSource:
        """Profiles Sync in the default schema."""
        return WarehouseSource("warehouse", ProfilesSync(Wanted(self.schema, key, not trait, column)), self.connect)

    def engage(self, key: str = "vip", *, trait: bool = False, anonymous: bool = False) -> WarehouseSource:
        """Engage's tables in the default schema."""
        return WarehouseSource("warehouse", EngageTables(Wanted(self.schema, key, not trait), anonymous), self.connect)
