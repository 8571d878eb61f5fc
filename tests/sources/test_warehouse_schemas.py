"""Members and values come out of Profiles Sync's and Engage's tables as Segment would send them."""

import pytest
from sealing import Bench, read
from sqlalchemy import create_engine
from warehouses import DBT, ENGAGE, PROFILES_SYNC, ROWS, Warehouse

from windsor_sync.errors import ConfigError, SnapshotError
from windsor_sync.sources.warehouse_session import opened

TRAITS = "canonical_segment_id, vip, revenue, colour, merged_to"
IDS = "canonical_segment_id, type, value, seq"
MERGES = "segment_id, canonical_segment_id"


def test_members_of_profiles_sync_are_those_whose_column_is_true(bench: Bench, warehouse: Warehouse) -> None:
    warehouse.run(PROFILES_SYNC)
    rows = [("p1", True), ("p2", False), ("p3", None), ("p4", True)]
    warehouse.add("profile_traits", "canonical_segment_id, vip", *rows)
    warehouse.add("user_identifiers", IDS, *[(f"p{n}", "user_id", f"u{n}", n) for n in range(1, 5)])
    sealed = bench.seal(warehouse.profiles())
    assert read(sealed, ("user_id", "profile_id", "value")) == [("u1", "p1", None), ("u4", "p4", None)]
    assert (sealed.rows_read, sealed.members) == (2, 2)


def test_e_mails_come_in_the_order_in_which_they_were_added(bench: Bench, warehouse: Warehouse) -> None:
    warehouse.run(PROFILES_SYNC)
    warehouse.add("profile_traits", "canonical_segment_id, vip", ("p1", True))
    ids = [("p1", "email", "z@x", 1), ("p1", "email", "a@x", 2), ("p1", "user_id", "u1", 3), ("p1", "ios.idfa", "i", 4)]
    warehouse.add("user_identifiers", IDS, *reversed(ids))
    found = {choice: bench.members(warehouse.profiles(), emails=choice)[0][2] for choice in ("first", "last", "all")}
    assert found == {"first": "z@x", "last": "a@x", "all": "z@x\na@x"}


def test_a_profile_of_several_user_ids_is_several_users_and_one_of_none_is_counted(
    bench: Bench, warehouse: Warehouse
) -> None:
    warehouse.run(PROFILES_SYNC)
    warehouse.add("profile_traits", "canonical_segment_id, vip", ("p1", True), ("p2", True), ("p3", True))
    ids = [("p1", "user_id", "u1", 1), ("p1", "user_id", "u2", 2), ("p2", "anonymous_id", "a1", 1)]
    warehouse.add("user_identifiers", IDS, *ids)
    sealed = bench.seal(warehouse.profiles())
    assert [row[0] for row in read(sealed)] == ["u1", "u2"]
    assert sealed.left_out["missing_user_id"] == 2
    members = bench.members(warehouse.profiles(), identify_by="anonymous_id")
    assert [row[:2] for row in members] == [("u1", None), ("u2", None), (None, "a1")]


@pytest.mark.parametrize("nobody", [None, ""], ids=["null", "empty"])
def test_a_profile_that_was_merged_away_is_no_profile(bench: Bench, warehouse: Warehouse, nobody: str | None) -> None:
    warehouse.run(PROFILES_SYNC)
    warehouse.add(
        "profile_traits",
        "canonical_segment_id, vip, merged_to",
        ("p1", True, nobody),
        ("p2", True, "p1"),
        ("p3", True, "p4"),
    )
    warehouse.add("user_identifiers", IDS, ("p1", "user_id", "u1", 1), ("p3", "user_id", "u3", 1))
    assert bench.user_ids(warehouse.profiles()) == ["u1"]


@pytest.mark.parametrize(
    "merges",
    [[("p1", "p2")], [("p1", "p9"), ("p9", "p2")], [("p1", "p7"), ("p7", "p8"), ("p8", "p9"), ("p9", "p2")]],
    ids=["one", "two in a row", "four in a row"],
)
@pytest.mark.parametrize("late", ["profile_traits", "user_identifiers"])
def test_a_merge_is_not_an_exit_while_one_table_is_behind_the_other(
    bench: Bench, warehouse: Warehouse, merges: list[tuple[str, str]], late: str
) -> None:
    warehouse.run(PROFILES_SYNC)
    traits, ids = ("p1", "p2") if late == "profile_traits" else ("p2", "p1")
    warehouse.add("profile_traits", "canonical_segment_id, vip", (traits, True))
    warehouse.add("user_identifiers", IDS, (ids, "user_id", "u1", 1), (ids, "email", "a@x", 2))
    warehouse.add("profile_merges", MERGES, *merges)
    sealed = bench.seal(warehouse.profiles())
    merged = sorted(name for name, _ in merges)
    assert read(sealed, ("user_id", "email", "profile_id")) == [("u1", "a@x", "\n".join(["p2", *merged]))]


def test_the_survivor_of_a_merge_says_the_value(bench: Bench, warehouse: Warehouse) -> None:
    warehouse.run(PROFILES_SYNC)
    warehouse.add("profile_traits", "canonical_segment_id, revenue", ("p1", 7), ("p2", 9.50), ("p0", 1))
    warehouse.add("user_identifiers", IDS, ("p2", "user_id", "u1", 1), ("p1", "user_id", "u2", 1))
    warehouse.add("profile_merges", MERGES, ("p1", "p2"), ("p0", "p2"))
    members = bench.members(warehouse.profiles("revenue", trait=True), wants_value=True)
    assert [(row[0], row[3]) for row in members] == [("u1", "9.5"), ("u2", "9.5")]


def test_the_tables_of_segment_s_dbt_package_are_read_alike(bench: Bench, warehouse: Warehouse) -> None:
    warehouse.run(DBT)
    warehouse.add("profile_traits", "canonical_segment_id, vip, merged_to", ("p1", True, ""), ("p2", True, "p1"))
    columns = "canonical_segment_id, external_id_type, external_id_value, timestamp"
    warehouse.add("external_id_mapping", columns, ("p1", "user_id", "u1", "1"), ("p2", "email", "a@x", "2"))
    warehouse.add("id_graph", MERGES, ("p1", "p1"), ("p2", "p1"))
    assert bench.members(warehouse.profiles()) == [("u1", None, "a@x", None)]


def test_without_a_wide_table_a_row_for_each_trait_is_read(bench: Bench, warehouse: Warehouse) -> None:
    warehouse.run(ROWS)
    rows = [
        ("p1", "vip", "true"), ("p2", "vip", "false"), ("p1", "revenue", "450.00"), ("p2", "revenue", ""),
        ("p1", "colour", "red"), ("p2", "colour", '["a"]'), ("p2", "other", "true"),
    ]  # fmt: skip
    warehouse.add("user_traits", "canonical_segment_id, name, value", *rows)
    warehouse.add("user_identifiers", IDS, ("p1", "user_id", "u1", 1), ("p2", "user_id", "u2", 1))
    assert bench.user_ids(warehouse.profiles()) == ["u1"]
    values = {
        key: bench.members(warehouse.profiles(key, trait=True), wants_value=True) for key in ("revenue", "colour")
    }
    assert [(row[0], row[3]) for row in values["revenue"]] == [("u1", "450")]
    assert [(row[0], row[3]) for row in values["colour"]] == [("u1", '"red"'), ("u2", '["a"]')]


def test_an_audience_whose_last_member_left_is_empty_and_one_never_heard_of_is_refused(
    bench: Bench, warehouse: Warehouse
) -> None:
    warehouse.run(ROWS)
    warehouse.add("user_traits", "canonical_segment_id, name, value", ("p1", "vip", "false"))
    assert bench.seal(warehouse.profiles()).members == 0
    with pytest.raises(SnapshotError, match="no row named vipp"):
        bench.seal(warehouse.profiles("vipp"))


@pytest.mark.parametrize("kind", ["profiles", "engage"])
def test_a_column_that_is_not_there_yet_is_refused_with_what_is(bench: Bench, warehouse: Warehouse, kind: str) -> None:
    warehouse.run(PROFILES_SYNC if kind == "profiles" else ENGAGE)
    with pytest.raises(SnapshotError) as caught:
        bench.seal(getattr(warehouse, kind)("vips"))
    assert "no column vips (near it: vip)" in str(caught.value)
    assert "Nothing was sent; the last good snapshot stands. Segment adds it when the first user has it" in str(
        caught.value
    )


@pytest.mark.parametrize("kind", ["profiles", "engage"])
def test_a_schema_without_those_tables_is_refused(bench: Bench, on_postgres: Warehouse, kind: str) -> None:
    with pytest.raises(SnapshotError, match="The schema public has n"):
        bench.seal(getattr(on_postgres, kind)())


@pytest.mark.parametrize(
    ("key", "column"),
    [("j_o_a__b_1f", "j_o_a_b_1f"), ("VIP", "vip"), ("3_views", "_3_views"), ("my-audience", "my_audience")],
)
def test_a_column_is_found_under_the_name_that_segment_makes_of_the_key(
    bench: Bench, warehouse: Warehouse, key: str, column: str
) -> None:
    warehouse.run(PROFILES_SYNC.replace("vip boolean", f"{column} boolean"))
    warehouse.add("profile_traits", f"canonical_segment_id, {column}", ("p1", True))
    warehouse.add("user_identifiers", IDS, ("p1", "user_id", "u1", 1))
    assert bench.user_ids(warehouse.profiles(key)) == ["u1"]


@pytest.mark.parametrize("column", ["Is VIP", 'a"b', "select", "naïve", "x; DROP TABLE profile_traits"])
def test_a_column_named_by_hand_is_quoted_whatever_it_holds(bench: Bench, warehouse: Warehouse, column: str) -> None:
    in_sql = '"' + column.replace('"', '""') + '"'
    script = PROFILES_SYNC.replace("vip boolean", "vip boolean, marked boolean DEFAULT true")
    warehouse.run(script)
    with create_engine(warehouse.url).begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE profile_traits RENAME COLUMN marked TO {in_sql}")
    warehouse.add("profile_traits", "canonical_segment_id, vip", ("p1", False))
    warehouse.add("user_identifiers", IDS, ("p1", "user_id", "u1", 1))
    assert bench.user_ids(warehouse.profiles("vip", column=column)) == ["u1"]
    with pytest.raises((SnapshotError, ConfigError)):
        bench.seal(warehouse.profiles("vip", column=column + "x"))


@pytest.mark.parametrize(("kind", "yes", "no"), [("text", "true", "false"), ("text", "t", "f"), ("integer", 1, 0)])
def test_a_database_without_booleans_says_who_is_a_member_as_well(
    bench: Bench, warehouse: Warehouse, kind: str, yes: object, no: object
) -> None:
    warehouse.run((PROFILES_SYNC + ENGAGE.split(";")[0]).replace("vip boolean", f"vip {kind}"))
    warehouse.add("profile_traits", "canonical_segment_id, vip", ("p1", yes), ("p2", no))
    warehouse.add("user_identifiers", IDS, ("p1", "user_id", "u1", 1), ("p2", "user_id", "u2", 1))
    warehouse.add("users", "id, vip", ("u3", yes), ("u4", no), ("u5", None))
    assert bench.user_ids(warehouse.profiles()) == ["u1"]
    assert bench.user_ids(warehouse.engage()) == ["u3"]


def test_engage_s_users_are_read_with_their_e_mail_and_value(bench: Bench, warehouse: Warehouse) -> None:
    warehouse.run(ENGAGE)
    rows = [("u1", "a@x", True, 1.10), ("u2", None, True, None), ("u3", "c@x", False, 3), ("u4", "d@x", None, 1e21)]
    warehouse.add("users", "id, email, vip, revenue", *rows)
    assert bench.members(warehouse.engage()) == [("u1", None, "a@x", None), ("u2", None, None, None)]
    values = bench.members(warehouse.engage("revenue", trait=True), wants_value=True)
    assert [(row[0], row[3]) for row in values][:2] == [("u1", "1.1"), ("u3", "3")]


def test_without_users_the_last_call_about_each_user_decides(bench: Bench, warehouse: Warehouse) -> None:
    warehouse.run(ENGAGE + "DROP TABLE users;")
    calls = [
        ("m1", "u1", None, "a@x", True, "1"), ("m2", "u1", None, "b@x", True, "3"), ("m3", "u2", None, "c@x", True, "1"),
        ("m4", "u2", None, "c@x", False, "2"), ("m5", "u3", None, None, False, "1"), ("m6", "u3", None, None, True, "2"),
        ("m7", "u3", None, None, None, "9"), ("m8", None, "a1", "d@x", True, "1"), ("m9", "", "a2", None, False, "1"),
    ]  # fmt: skip
    warehouse.add("identifies", "id, user_id, anonymous_id, email, vip, received_at", *calls)
    assert bench.members(warehouse.engage(), emails="all") == [("u1", None, "a@x\nb@x", None), ("u3", None, None, None)]
    members = bench.members(warehouse.engage(anonymous=True), identify_by="anonymous_id")
    assert [row[:2] for row in members] == [("u1", None), ("u3", None), (None, "a1")]


def test_a_schema_is_quoted_and_one_of_another_database_part_by_part(bench: Bench, on_postgres: Warehouse) -> None:
    on_postgres.run('CREATE SCHEMA "Engage-Prod"; ' + ENGAGE.replace("TABLE ", 'TABLE "Engage-Prod".'))
    on_postgres.add('"Engage-Prod".users', "id, vip", ("u1", True))
    assert bench.user_ids(Warehouse(on_postgres.url, "Engage-Prod").engage()) == ["u1"]
    with opened(on_postgres.connect("warehouse"), "connection warehouse") as session:
        assert session.schema_in_sql("ACME.engage_prod") == '"ACME".engage_prod'
