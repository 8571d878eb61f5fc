"""What the file and the environment say is what the settings hold."""

import os
from datetime import date, timedelta
from pathlib import Path

import pytest
from settings_folder import URL, Folder

from windsor_sync.segment.calls import Call
from windsor_sync.settings import (
    AliasPolicy,
    Audience,
    Destination,
    Emails,
    IdentifyBy,
    Snapshot,
    SnapshotFormat,
    WireName,
    load,
)


@pytest.mark.parametrize(
    "text", ["NO", "123", "00123", "1e5", "true", "0x1F", "1_000", "2024-01-01", "1:30", ".inf", "'null'"]
)
def test_a_text_is_what_was_written_whatever_yaml_would_make_of_it(folder: Folder, text: str) -> None:
    settings = folder.load(
        f"{URL}audiences:\n- {{name: {text}, id: {text}, trait: {text}, snapshot: {{path: a.csv}}}}\n"
    )
    audience = settings.audiences[0]
    written = text.strip("'")
    assert (audience.name, audience.id, audience.trait, audience.key) == (written, written, written, written)


def test_everything_that_the_file_says_arrives(folder: Folder) -> None:
    settings = folder.load("""\
space: spa_2hZq
state: postgresql+psycopg://host/db
files: s3://bucket/prefix
destination:
  name: production
  wire: windsor_hook
  url: https://windsor.example/in
  connection: windsor_eu
  requests_per_second: 12.5
  max_in_flight: 8
  timeout_s: 5
  give_up_after_s: 60
  identify_merges: false
schedule: {audiences: PT3H, events: 1h}
defaults: {identify_by: anonymous_id, emails: last, max_exited_percent: 0, max_entered_percent: 250, guard_floor: 0}
audiences:
  - name: VIP
    id: aud_1
    trait: vip_customer
    reuse_key: true
    enabled: false
    delivery_shards: 4
    emails: all
    max_exited_percent: null
    snapshot:
      connection: warehouse
      query: |
        select user_id
        from vip
      columns: {user_id: id}
      max_malformed_percent: 2
computed_traits:
  - name: Total Revenue 180 Days
    on_missing: null
    snapshot: {path: /data/total.ndjson, taken_at: "%Y%m%d"}
events:
  archive: gs://logs/segment-logs/
  calls: [track, alias]
  alias: hold
  since: 2025-06-01
  consent_categories: [C0002, 0004]
  dedupe_days: 30
""")
    assert (settings.space, settings.state, settings.files) == (
        "spa_2hZq",
        "postgresql+psycopg://host/db",
        "s3://bucket/prefix",
    )
    assert settings.destination == Destination(
        name="production",
        wire=WireName.WINDSOR_HOOK,
        url="https://windsor.example/in",
        connection="windsor_eu",
        requests_per_second=12.5,
        max_in_flight=8,
        timeout_s=5,
        give_up_after_s=60,
    ).model_copy(update={"identify_merges": False})
    assert (settings.schedule.audiences, settings.schedule.events) == (timedelta(hours=3), timedelta(hours=1))
    (vip,), (revenue,), events = settings.audiences, settings.computed_traits, settings.events
    assert (vip.id, vip.key, vip.computation_class) == ("aud_1", "vip_customer", "audience")
    assert (vip.reuse_key, vip.enabled, vip.delivery_shards) == (True, False, 4)
    assert (vip.snapshot.connection, vip.snapshot.query) == ("warehouse", "select user_id\nfrom vip\n")
    assert (vip.snapshot.columns, vip.snapshot.max_malformed_percent) == ({"user_id": "id"}, 2)
    assert (vip.snapshot.path, vip.snapshot.format) == (None, None)
    assert (revenue.key, revenue.computation_class) == ("total_revenue_180_days", "trait")
    assert revenue.sends_null_when_missing
    assert (revenue.snapshot.format, revenue.snapshot.taken_at) == (SnapshotFormat.JSONL, "%Y%m%d")
    assert events is not None
    assert (events.calls, events.alias, events.dedupe_days) == ((Call.TRACK, Call.ALIAS), AliasPolicy.HOLD, 30)
    assert (events.since, events.consent_categories) == (date(2025, 6, 1), ("C0002", "0004"))
    assert settings.computations == (vip, revenue)
    assert settings.warnings == ()


@pytest.mark.parametrize("nothing", ["", ", since: null, consent_categories: []"])
def test_by_default_every_day_of_the_archive_and_every_consent_is_forwarded(folder: Folder, nothing: str) -> None:
    events = folder.load(f"{URL}events: {{archive: logs{nothing}}}\n").events
    assert events is not None
    assert (events.since, events.consent_categories, events.calls) == (None, (), tuple(Call))


def test_an_audience_takes_from_defaults_what_it_does_not_say_itself(folder: Folder) -> None:
    settings = folder.load(
        URL + "defaults: {identify_by: anonymous_id, emails: last, max_exited_percent: 10, max_entered_percent: 5}\n"
        "audiences:\n"
        "- {name: A, snapshot: {path: a.csv}}\n"
        "- {name: B, emails: all, max_exited_percent: null, max_entered_percent: 7, snapshot: {path: b.csv}}\n"
    )
    first, second = settings.audiences
    assert (first.identify_by, first.emails) == (IdentifyBy.ANONYMOUS_ID, Emails.LAST)
    assert (first.max_exited_percent, first.max_entered_percent) == (10, 5)
    assert (second.identify_by, second.emails) == (IdentifyBy.ANONYMOUS_ID, Emails.ALL)
    assert (second.max_exited_percent, second.max_entered_percent) == (None, 7)


def test_only_the_url_is_required_and_the_rest_has_defaults(folder: Folder) -> None:
    settings = folder.load(URL + "audiences: [{name: VIP, snapshot: {path: vip.csv}}]\n")
    assert settings.state == f"sqlite:///{folder.file.parent}/.windsor/state.db"
    assert settings.files == f"{folder.file.parent}/.windsor/files"
    assert settings.destination == Destination(url="http://127.0.0.1:8474/")
    assert (settings.destination.wire, settings.destination.requests_per_second) == (WireName.SEGMENT_WEBHOOK, 200)
    assert (settings.destination.max_in_flight, settings.destination.timeout_s) == (64, 10)
    assert settings.destination.identify_merges is None
    assert (settings.schedule.audiences, settings.schedule.events) == (timedelta(hours=2.5), timedelta(minutes=15))
    assert (settings.defaults.max_exited_percent, settings.defaults.max_entered_percent) == (30, None)
    assert (settings.defaults.guard_floor, settings.audiences[0].snapshot.max_malformed_percent) == (100, 0.1)
    assert (settings.events, settings.computed_traits, settings.path) == (None, (), folder.file)


def test_a_section_with_every_line_commented_out_is_as_if_left_out(folder: Folder) -> None:
    settings = folder.load(URL + "audiences:\n#  - name: VIP\nschedule:\nevents:\nstate:\n")
    assert (settings.audiences, settings.events) == ((), None)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.csv", "engage_csv"),
        ("a/*.CSV.gz", "engage_csv"),
        ("s3://b/*.parquet", "parquet"),
        ("a.jsonl.zst", "jsonl"),
        ("a.ndjson", "jsonl"),
    ],
)
def test_the_format_is_told_by_the_end_of_the_path(folder: Folder, path: str, expected: str) -> None:
    settings = folder.load(f"{URL}audiences: [{{name: A, snapshot: {{path: '{path}'}}}}]\n")
    assert settings.audiences[0].snapshot.format == expected


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:8474/", "127.0.0.1:8474"),
        ("https://Windsor.example", "windsor.example"),
        ("https://windsor.example:443/segment/in/", "windsor.example/segment/in"),
        ("http://[::1]:8474/hook", "[::1]:8474/hook"),
    ],
)
def test_a_destination_is_named_after_its_host_and_path(url: str, name: str) -> None:
    assert Destination(url=url).name == name


def test_relative_paths_count_from_the_file_s_folder(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    text = URL + (
        "state: sqlite:///data/state.db?timeout=5\nfiles: ./data/../files\n"
        "audiences:\n- {name: A, snapshot: {path: 'in/*.csv'}}\n- {name: B, snapshot: {path: 's3://b/in/*.csv'}}\n"
        "- {name: C, snapshot: {path: 'simplecache::s3://b/*.csv'}}\n- {name: D, snapshot: {path: /abs/d.csv}}\n"
        "events: {archive: logs/}\n"
    )
    settings = folder.load(text)
    assert settings.state == f"sqlite:///{tmp_path}/data/state.db?timeout=5"
    assert settings.files == f"{tmp_path}/files"
    assert [audience.snapshot.path for audience in settings.audiences] == [
        f"{tmp_path}/./in/*.csv",
        "s3://b/in/*.csv",
        "simplecache::s3://b/*.csv",
        "/abs/d.csv",
    ]
    assert settings.events is not None
    assert settings.events.archive == f"{tmp_path}/logs"


def test_a_slash_at_the_end_of_a_snapshot_s_path_stays_because_it_means_a_folder(
    folder: Folder, tmp_path: Path
) -> None:
    text = (
        URL
        + "audiences:\n- {name: A, snapshot: {path: 'exports/*/', format: csv}}\n- {name: B, snapshot: {path: a.csv}}\n"
    )
    found = [audience.snapshot.path for audience in folder.load(text).audiences]
    assert found == [f"{tmp_path}/./exports/*/", f"{tmp_path}/./a.csv"]


def test_an_absolute_sqlite_file_and_the_home_folder_are_left_where_they_are(folder: Folder) -> None:
    settings = folder.load(URL + "state: sqlite:////var/lib/state.db\nfiles: ~/files\n")
    assert settings.state == "sqlite:////var/lib/state.db"
    assert settings.files == f"{Path.home()}/files"


def test_the_file_is_the_one_named_else_the_variable_s_else_windsor_yaml_here(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.load(URL + "space: spa_here\n")
    other = folder.file.with_name("other.yaml")
    other.write_text(URL + "space: spa_other\n")
    monkeypatch.chdir(folder.file.parent)
    assert load(env={}).space == "spa_here"
    assert load(env={"WINDSOR_SYNC_CONFIG": str(other)}).space == "spa_other"
    assert load(folder.file, env={"WINDSOR_SYNC_CONFIG": str(other)}).space == "spa_here"
    assert load(Path("other.yaml"), env={}).path == other


def test_the_process_s_environment_counts_when_none_is_given(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.load(URL)
    for name in [name for name in os.environ if name.startswith("WINDSOR_SYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WINDSOR_SYNC_SPACE", "spa_env")
    assert load(folder.file).space == "spa_env"


def test_any_single_value_can_come_from_the_environment(folder: Folder) -> None:
    env = {
        "WINDSOR_SYNC_SPACE": "spa_env",
        "WINDSOR_SYNC_STATE": "postgresql+psycopg://me:secret@host/db",
        "WINDSOR_SYNC_DESTINATION__URL": "https://windsor.example/\n",
        "WINDSOR_SYNC_DESTINATION__MAX_IN_FLIGHT": "9",
        "WINDSOR_SYNC_SCHEDULE__AUDIENCES": "2h",
        "WINDSOR_SYNC_DEFAULTS__EMAILS": "all",
        "WINDSOR_SYNC_DEFAULTS__MAX_EXITED_PERCENT": "null",
        "WINDSOR_SYNC_EVENTS__ARCHIVE": "logs",
        "WINDSOR_SYNC_EVENTS__CALLS": "track, page",
        "WINDSOR_SYNC_EVENTS__SINCE": "2025-06-01",
        "WINDSOR_SYNC_EVENTS__CONSENT_CATEGORIES": "C0002, C0004",
    }
    settings = folder.load(URL + "schedule: {audiences: 3h, events: 5m}\n", env)
    assert (settings.space, settings.state) == ("spa_env", "postgresql+psycopg://me:secret@host/db")
    assert (settings.destination.url, settings.destination.max_in_flight) == ("https://windsor.example/", 9)
    assert (settings.schedule.audiences, settings.schedule.events) == (timedelta(hours=2), timedelta(minutes=5))
    assert (settings.defaults.emails, settings.defaults.max_exited_percent) == (Emails.ALL, None)
    assert settings.events is not None
    assert settings.events.archive == str(folder.file.with_name("logs"))
    assert settings.events.calls == (Call.TRACK, Call.PAGE)
    assert settings.events.since == date(2025, 6, 1)
    assert settings.events.consent_categories == ("C0002", "C0004")
    assert settings.warnings == ()


def test_the_environment_alone_can_make_a_section(folder: Folder) -> None:
    settings = folder.load("", {"WINDSOR_SYNC_DESTINATION__URL": "http://127.0.0.1:1/"})
    assert settings.destination.name == "127.0.0.1:1"


def test_a_variable_that_is_empty_counts_as_not_set(folder: Folder) -> None:
    assert folder.load(URL + "space: spa_file\n", {"WINDSOR_SYNC_SPACE": ""}).space == "spa_file"


@pytest.mark.parametrize(
    ("variable", "value", "mistake"),
    [
        (
            "WINDSOR_SYNC_DESTINATION__WIRE",
            "webhook",
            "WINDSOR_SYNC_DESTINATION__WIRE destination.wire: found 'webhook'; expected segment_webhook or windsor_ho",
        ),
        ("WINDSOR_SYNC_DESTINATION__WIRE", "null", "destination.wire: found 'null'; expected segment_webhook"),
        (
            "WINDSOR_SYNC_DESTINATION__URLL",
            "x",
            "WINDSOR_SYNC_DESTINATION__URLL: found a variable that sets nothing; expected "
            "WINDSOR_SYNC_<SECTION>__<KEY> for a key of the file (did you mean WINDSOR_SYNC_DESTINATION__URL?)",
        ),
        ("WINDSOR_SYNC_AUDIENCES", "x", "WINDSOR_SYNC_AUDIENCES: found a variable that sets nothing"),
        ("WINDSOR_SYNC_EVENTS__CALLS", "track", "WINDSOR_SYNC_EVENTS__CALLS events.archive: found nothing"),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(folder: Folder, variable: str, value: str, mistake: str) -> None:
    (found,) = folder.mistakes(URL, {variable: value})
    assert mistake in found


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("schedule: {audiences: 119m}", "windsor.yaml:2 schedule.audiences: found 1h59m; Engage syncs every 2h to 3h"),
        ("schedule: {audiences: 6h}", "windsor.yaml:2 schedule.audiences: found 6h; Engage syncs every 2h to 3h"),
        ("audiences: [{name: A, id: tra_1, snapshot: {path: a.csv}}]", "windsor.yaml:2 audiences['A'].id: found an id"),
        ("state: postgresql+psycopg://me:secret@h/db", "windsor.yaml:2 state: found a password in the file"),
        ("audiences: []", "windsor.yaml:1: found no audiences, no computed_traits and no events"),
    ],
)
def test_what_is_allowed_and_hardly_meant_is_a_warning(folder: Folder, text: str, warning: str) -> None:
    assert any(str(found).startswith(warning) for found in folder.load(f"{URL}{text}\n").warnings)


@pytest.mark.parametrize("interval", ["2h", "2h30m", "3h"])
def test_two_to_three_hours_warn_of_nothing(folder: Folder, interval: str) -> None:
    text = f"{URL}schedule: {{audiences: {interval}}}\naudiences: [{{name: A, snapshot: {{path: a.csv}}}}]\n"
    assert folder.load(text).warnings == ()


def test_settings_cannot_be_changed_once_read(folder: Folder) -> None:
    settings = folder.load(URL)
    with pytest.raises(ValueError, match="frozen"):
        settings.destination.url = "https://elsewhere.example/"


def test_an_audience_built_in_python_is_checked_like_one_from_the_file() -> None:
    audience = Audience(name="Dormant Shoppers", snapshot=Snapshot(path="a.csv"))
    assert (audience.key, audience.snapshot.format) == ("dormant_shoppers", SnapshotFormat.ENGAGE_CSV)
    with pytest.raises(ValueError, match="expected a whole number from 1 to 64"):
        Audience(name="A", delivery_shards=0, snapshot=Snapshot(path="a.csv"))
