"""A snapshot from a warehouse: a connection, and one thing to ask it for."""

import pytest
from settings_folder import URL, Folder

EITHER = "expected either path, or connection and query, profiles_sync or engage"


def snapshot(text: str) -> str:
    return f"{URL}audiences:\n- name: VIP\n  snapshot: {{{text}}}\n"


@pytest.mark.parametrize("key", ["profiles_sync", "engage"])
@pytest.mark.parametrize("schema", ["engage_prod", "ACME.engage_prod", "my-project.data_set", "Space$1", "a.b.c"])
def test_a_schema_is_named_as_the_warehouse_has_it(folder: Folder, key: str, schema: str) -> None:
    (audience,) = folder.load(snapshot(f"connection: warehouse, {key}: {schema}, columns: {{value: is_vip}}")).audiences
    assert getattr(audience.snapshot, key) == schema
    assert audience.snapshot.columns == {"value": "is_vip"}


@pytest.mark.parametrize("schema", ["a b", "a;b", "'a\"b'", "a..b", "a.b.c.d", ".a", "a--b'"])
def test_what_no_schema_is_called_is_a_mistake(folder: Folder, schema: str) -> None:
    if schema == "a--b'":
        schema = '"a--b\'"'
    (mistake,) = folder.mistakes(snapshot(f"connection: warehouse, engage: {schema}"))
    assert "snapshot.engage: found text; expected a schema's name, or DATABASE.SCHEMA" in mistake


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("connection: w", f"snapshot: found neither path nor query; {EITHER}"),
        ("connection: w, engage: e, profiles_sync: p", f"snapshot: found both profiles_sync and engage; {EITHER}"),
        ("connection: w, query: select 1, engage: e", f"snapshot: found both query and engage; {EITHER}"),
        ("engage: e, path: a.csv", f"snapshot: found both path and engage; {EITHER}"),
        ("engage: e", f"snapshot: found engage without a connection; {EITHER}"),
        (
            "connection: w, engage: e, format: csv",
            "snapshot.format: found format beside engage; expected format only beside",
        ),
        (
            "connection: w, profiles_sync: p, columns: {user_id: id, value: v}",
            "snapshot.columns: found columns beside profiles_sync; expected none but value",
        ),
    ],
)
def test_what_does_not_go_together_is_a_mistake(folder: Folder, text: str, found: str) -> None:
    (mistake,) = folder.mistakes(snapshot(text))
    assert found in mistake
