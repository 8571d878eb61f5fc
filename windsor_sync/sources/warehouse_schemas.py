"""Membership and values as Segment keeps them in a warehouse: the tables of Profiles Sync, and those of Engage.

Neither has a table of members: a computation is a column of a wide table, or rows under its name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    CompoundSelect,
    FromClause,
    Select,
    String,
    TableClause,
    case,
    cast,
    column,
    func,
    literal,
    null,
    or_,
    select,
    table,
    true,
)
from sqlalchemy.types import TypeEngine

from windsor_sync.errors import SnapshotError
from windsor_sync.segment.trait_keys import trait_key
from windsor_sync.sources.csv_text import shown_columns
from windsor_sync.sources.refusal import unusable
from windsor_sync.sources.warehouse_cells import TRUE, is_true
from windsor_sync.sources.warehouse_session import QueryResult, Warehouse

ID_TYPES = ("user_id", "email", "anonymous_id")
PROFILE = "profile"
"""The type of an id that is a profile merged into another one."""
HOPS = 4
"""How many merges in a row are followed before the warehouse itself has drawn them together: a visitor can be merged
several times between two syncs of the tables."""

NOT_THERE = (
    "Segment adds it when the first user has it: until then set enabled: false. If it goes by another name, give that as "
    "columns: {value: NAME}."
)
Types = Mapping[str, TypeEngine[Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The tables and columns that are looked for in a schema."""

    schema: str
    key: str
    is_audience: bool
    column: str | None = None
    """the column's name, where it is not what Segment makes of the key"""

    @property
    def names(self) -> tuple[str, ...]:
        """Under which names the computation may stand: a warehouse column loses double underscores and capitals."""
        snake = str(trait_key(self.key))
        return (self.column,) if self.column else tuple(dict.fromkeys((self.key, snake, f"_{snake}")))


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile or user as its rows tell it."""

    profile_id: str | None
    """its own id, then the profiles that were merged into it, one a line"""
    ids: Mapping[str, Sequence[Any]]
    """by type, each once, in the order in which they were added"""
    value: Any
    is_untyped: bool
    """whether the value comes from a column of texts that holds values of every type"""


# -- Profiles Sync -------------------------------------------------------------------------------------------


def profiles(warehouse: Warehouse, wanted: Wanted) -> Iterator[Profile]:
    """Yield the members, or the profiles with a value, each with its ids.

    Merged profiles count as the one they were merged into, on both sides of the join, so that a table which is behind
    the others makes nobody exit.
    """
    traits, is_untyped = _traits(warehouse, wanted)
    merges = _merges(warehouse, wanted)
    identifiers = _identifiers(warehouse, wanted)
    ids = identifiers if merges is None else identifiers.union_all(_merged_profiles(merges))
    question = _joined(traits, ids, merges)
    found = 0
    for profile_id, rows in groupby(chain.from_iterable(warehouse.ask(question).chunks), key=itemgetter(0)):
        found += 1
        yield _profile(str(profile_id), list(rows), is_untyped)
    if not found and is_untyped:
        _require_rows(warehouse, wanted)


def _profile(profile_id: str, rows: Sequence[Sequence[Any]], is_untyped: bool) -> Profile:
    values = {str(own): value for _, own, value, *_ in rows}
    ids: dict[str, dict[Any, None]] = {kind: {} for kind in (*ID_TYPES, PROFILE)}
    for *_, kind, value in rows:
        if kind is not None and value is not None:
            ids[kind][value] = None
    value = values.get(profile_id, values[min(values)])  # the survivor of a merge knows best
    merged = sorted({str(name) for name in ids.pop(PROFILE)} - {profile_id})
    return Profile(
        "\n".join((profile_id, *merged)), {kind: tuple(found) for kind, found in ids.items()}, value, is_untyped
    )


def _traits(warehouse: Warehouse, wanted: Wanted) -> tuple[Select[Any], bool]:
    """Own id and value of each profile that has it; from the wide table where that has the column, else from rows."""
    wide = warehouse.columns_of("profile_traits", wanted.schema)
    name = _match(wide or {}, wanted.names)
    if wide and name:
        traits = _table(warehouse, wanted, "profile_traits", "canonical_segment_id", name, *_in(wide, "merged_to"))
        present = [_has(traits.c[name], wide[name], wanted)]
        if "merged_to" in traits.c:  # NULL in Segment's own tables, '' in a full build of its dbt package
            present.append(or_(traits.c.merged_to.is_(None), traits.c.merged_to == ""))
        return select(traits.c.canonical_segment_id, traits.c[name].label("trait")).where(*present), False
    rows = warehouse.columns_of("user_traits", wanted.schema)
    if rows is None or (wanted.column and wide):
        raise _missing(wanted, "profile_traits", wide, "user_traits")
    traits = _table(warehouse, wanted, "user_traits", "canonical_segment_id", "name", "value")
    present = [traits.c.name.in_(wanted.names), _has(traits.c.value, rows.get("value", String()), wanted)]
    return select(traits.c.canonical_segment_id, traits.c.value.label("trait")).where(*present), True


def _identifiers(warehouse: Warehouse, wanted: Wanted) -> Select[Any]:
    """Profile, type, value and place of each id: from Segment's table, else from that of its dbt package."""
    for name, prefix, place in (("user_identifiers", "", "seq"), ("external_id_mapping", "external_id_", "timestamp")):
        columns = warehouse.columns_of(name, wanted.schema)
        if columns is not None:
            kind, value = f"{prefix}type", f"{prefix}value"
            ids = _table(warehouse, wanted, name, "canonical_segment_id", kind, value, *_in(columns, place))
            order = ids.c[place] if place in ids.c else null()
            columns_read = (ids.c.canonical_segment_id, ids.c[kind].label("kind"), ids.c[value].label("id"))
            return select(*columns_read, order.label("place")).where(ids.c[kind].in_(ID_TYPES))
    raise _missing(wanted, "user_identifiers", None, "external_id_mapping")


def _merges(warehouse: Warehouse, wanted: Wanted) -> TableClause | None:
    for name in ("profile_merges", "id_graph"):
        if warehouse.columns_of(name, wanted.schema) is not None:
            return _table(warehouse, wanted, name, "segment_id", "canonical_segment_id")
    return None


def _merged_profiles(merges: TableClause) -> Select[Any]:
    """Return the query of profiles that were merged into another one, as further ids of that one."""
    own = merges.c.segment_id
    into = func.coalesce(func.nullif(merges.c.canonical_segment_id, ""), own)
    columns = (
        own.label("canonical_segment_id"),
        literal(PROFILE).label("kind"),
        own.label("id"),
        null().label("place"),
    )
    return select(*columns).where(own != into)


def _joined(
    traits: Select[Any], identifiers: Select[Any] | CompoundSelect[Any], merges: TableClause | None
) -> Select[Any]:
    """Rows of (profile, own id, value, type, id), those of one profile together, its ids in their order."""
    members = _survivors(traits.subquery("traits"), merges).subquery("members")
    ids = _survivors(identifiers.subquery("identifiers"), merges).subquery("ids")
    return (
        select(members.c.profile, members.c.canonical_segment_id, members.c.trait, ids.c.kind, ids.c.id)
        .select_from(members.outerjoin(ids, ids.c.profile == members.c.profile))
        .order_by(members.c.profile, ids.c.place, ids.c.kind, ids.c.id)
    )


def _survivors(rows: FromClause, merges: TableClause | None) -> Select[Any]:
    """The rows with `profile`, the profile that theirs was merged into."""
    profile: ColumnElement[Any] = rows.c.canonical_segment_id
    joined = rows
    for hop in range(HOPS if merges is not None else 0):
        assert merges is not None
        merge = merges.alias(f"merge_{hop + 1}")
        joined = joined.outerjoin(merge, merge.c.segment_id == profile)
        profile = func.coalesce(func.nullif(merge.c.canonical_segment_id, ""), profile)
    return select(*rows.c, profile.label("profile")).select_from(joined)


def _require_rows(warehouse: Warehouse, wanted: Wanted) -> None:
    """An audience whose last member left has rows that say false; one without any row is misspelt, or was never had."""
    traits = _table(warehouse, wanted, "user_traits", "name")
    some = select(literal(1)).where(traits.c.name.in_(wanted.names)).limit(1)
    if not any(warehouse.ask(some).chunks):
        raise unusable(
            f"{wanted.schema}.user_traits at {warehouse.place} has no row named {' or '.join(wanted.names[:2])}.",
            NOT_THERE,
        )


# -- Engage --------------------------------------------------------------------------------------------------


def users(warehouse: Warehouse, wanted: Wanted) -> QueryResult | None:
    """Ask `users`, which has the latest value of each user id, for user_id, email and value; None without that table."""
    columns = warehouse.columns_of("users", wanted.schema)
    if columns is None:
        return None
    name = _match(columns, wanted.names)
    if name is None:
        raise _missing(wanted, "users", columns)
    found = _table(warehouse, wanted, "users", "id", name, *_in(columns, "email"))
    email = found.c.email if "email" in found.c else null()
    values = () if wanted.is_audience else (found.c[name].label("value"),)
    wanted_users = select(found.c.id.label("user_id"), email.label("email"), *values)
    return warehouse.ask(wanted_users.where(_has(found.c[name], columns[name], wanted)))


def identified(warehouse: Warehouse, wanted: Wanted) -> Iterator[Profile]:
    """Yield who has a value by `identifies`, the history of calls: of each user's calls the last one received decides."""
    columns = warehouse.columns_of("identifies", wanted.schema)
    name = _match(columns or {}, wanted.names)
    if columns is None or name is None:
        raise _missing(wanted, "identifies", columns)
    asked = dict.fromkeys((name, "user_id", "received_at", *_in(columns, "id", "email", "anonymous_id")))
    calls = _table(warehouse, wanted, "identifies", *asked)
    user, anonymous, email = (
        calls.c[each] if each in asked else null() for each in ("user_id", "anonymous_id", "email")
    )
    who = case((func.coalesce(user, "") != "", literal("u") + user), else_=literal("a") + cast(anonymous, String))
    history = (
        select(
            who.label("who"),
            user.label("user_id"),
            email.label("email"),
            anonymous.label("anonymous_id"),
            calls.c[name],
        )
        .where(calls.c[name].is_not(None), who.is_not(None))
        .order_by(who, calls.c.received_at, *(calls.c[each] for each in ("id",) if each in asked))
    )
    for _, rows in groupby(chain.from_iterable(warehouse.ask(history).chunks), key=itemgetter(0)):
        if found := _user(list(rows), wanted):
            yield found


def _user(calls: Sequence[Sequence[Any]], wanted: Wanted) -> Profile | None:
    if wanted.is_audience and not is_true(calls[-1][4]):
        return None
    ids = {
        kind: tuple(dict.fromkeys(call[place] for call in calls if call[place] not in (None, "")))
        for place, kind in enumerate(ID_TYPES, start=1)
    }
    return Profile(None, ids, calls[-1][4], is_untyped=False)


# -- both ----------------------------------------------------------------------------------------------------


def _table(warehouse: Warehouse, wanted: Wanted, name: str, *columns: str) -> TableClause:
    return table(
        name, *(column(each, _TYPES.get(each)) for each in columns), schema=warehouse.schema_in_sql(wanted.schema)
    )


_TYPES: dict[str, TypeEngine[Any]] = {"user_id": String(), "segment_id": String(), "canonical_segment_id": String()}


def _has(found: ColumnElement[Any], kind: TypeEngine[Any], wanted: Wanted) -> ColumnElement[bool]:
    """Whether a row makes its profile a member, or gives it a value."""
    if not wanted.is_audience:
        return found.is_not(None)
    if isinstance(kind, Boolean):
        return found == true()
    return func.lower(cast(found, String)).in_(TRUE)  # a database without booleans keeps 1, or text


def _match(columns: Types, names: Sequence[str]) -> str | None:
    """The first of the names that the table has, in any case."""
    by_folded = {found.lower(): found for found in columns}
    return next((by_folded[name.lower()] for name in names if name.lower() in by_folded), None)


def _in(columns: Types, *names: str) -> tuple[str, ...]:
    return tuple(name for name in names if name in columns)


def _missing(wanted: Wanted, name: str, columns: Types | None, other: str | None = None) -> SnapshotError:
    if columns is None:
        tables = f"neither {name} nor {other}" if other else f"no table {name}"
        return unusable(
            f"The schema {wanted.schema} has {tables}, or hides it from this account.",
            "Check the schema's name, and that this account may read it.",
        )
    near = get_close_matches(wanted.names[0].lower(), columns, n=3)
    hint = f"near it: {', '.join(near)}" if near else f"found {shown_columns(tuple(columns))}"
    return unusable(f"{wanted.schema}.{name} has no column {wanted.names[0]} ({hint}).", NOT_THERE)
