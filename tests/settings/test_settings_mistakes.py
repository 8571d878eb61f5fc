"""Every mistake is named in one go: its line, its key, what was found, what would be accepted."""

from pathlib import Path

import pytest
from settings_folder import URL, Folder

from windsor_sync.errors import ConfigError
from windsor_sync.settings import load

VIP = "audiences:\n  - name: VIP\n    snapshot: {path: vip.csv}\n"


def snapshot(text: str) -> str:
    return f"{URL}audiences:\n  - name: VIP\n    snapshot: {text}\n"


# text of the file -> the one mistake in it
ONE_MISTAKE = {
    "a wrong choice, with what is near it": (
        "destination:\n  url: http://localhost/\n  wire: webhok\n",
        "windsor.yaml:3 destination.wire: found 'webhok'; expected segment_webhook or windsor_hook "
        "(did you mean segment_webhook?)",
    ),
    "a missing url": ("space: spa_1\n", "windsor.yaml:1 destination.url: found nothing; expected an https URL"),
    "an unknown key, with what is near it": (
        "destination:\n  url: http://localhost/\n  requests_per_secnd: 3\n",
        "windsor.yaml:3 destination.requests_per_secnd: found an unknown key; expected another "
        "(did you mean requests_per_second?)",
    ),
    "a key of another section": (
        URL + "max_in_flight: 3\n",
        "windsor.yaml:2 max_in_flight: found a key in the wrong section; expected it at destination.max_in_flight",
    ),
    "a key given twice": (
        "destination:\n  url: http://localhost/\n  url: http://localhost/\n",
        "windsor.yaml:3 destination.url: found a second time (first in line 2); expected each key once",
    ),
    "a section given twice": (
        URL + VIP + "destination: {}\n",
        "windsor.yaml:5 destination: found a second time (first in line 1); expected each key once",
    ),
    "text for a section": (
        URL + "schedule: daily\n",
        "windsor.yaml:2 schedule: found text; expected a section with audiences, events",
    ),
    "a section for a list": (
        URL + "audiences: {name: VIP}\n",
        "windsor.yaml:2 audiences: found a section; expected a list of sections",
    ),
    "text for a list's item": (
        URL + "audiences:\n  - VIP\n",
        "windsor.yaml:3 audiences[item 1]: found text; expected a section with name and snapshot",
    ),
    "a list for a text": (URL + "space: [a]\n", "windsor.yaml:2 space: found a list; expected one line of text"),
    "nothing for a text": (
        URL + "audiences:\n  - name:\n    snapshot: {path: a.csv}\n",
        "windsor.yaml:3 audiences[item 1].name: found nothing; expected one line of text",
    ),
    "a blank text": (URL + "space: ' '\n", "windsor.yaml:2 space: found blank text; expected one line of text"),
    "a text of two lines": (
        URL + 'space: "a\\nb"\n',
        "windsor.yaml:2 space: found text with a line break or another control character; expected one line of text",
    ),
    "an unknown unit": (
        URL + "schedule: {audiences: 2x}\n",
        "windsor.yaml:2 schedule.audiences: found '2x'; expected a duration of at least 1m, such as 2h30m",
    ),
    "a duration that is too short": (URL + "schedule: {events: 59s}\n", "windsor.yaml:2 schedule.events: found '59s'"),
    "a boolean that is none in YAML 1.2": (
        URL + VIP + "    enabled: yes\n",
        "windsor.yaml:5 audiences['VIP'].enabled: found 'yes'; expected true or false",
    ),
    "a percent sign": (
        URL + "defaults: {max_exited_percent: 30%}\n",
        "windsor.yaml:2 defaults.max_exited_percent: found '30%'; expected a number from 0 to 100, without",
    ),
    "a number that is too high": (
        "destination:\n  url: http://localhost/\n  max_in_flight: 1025\n",
        "windsor.yaml:3 destination.max_in_flight: found '1025'; expected a whole number from 1 to 1024",
    ),
    "a rate of zero": (
        "destination:\n  url: http://localhost/\n  requests_per_second: 0\n",
        "windsor.yaml:3 destination.requests_per_second: found '0'; expected a number above 0",
    ),
    "an infinite number": (
        "destination:\n  url: http://localhost/\n  timeout_s: .inf\n",
        "windsor.yaml:3 destination.timeout_s: found '.inf'; expected a number above 0",
    ),
    "a fraction for a whole number": (
        URL + "defaults: {guard_floor: 1.5}\n",
        "windsor.yaml:2 defaults.guard_floor: found '1.5'; expected a whole number of at least 0",
    ),
    "a choice in a list": (
        URL + "events: {archive: logs, calls: [identify, trakc]}\n",
        "windsor.yaml:2 events.calls: found 'trakc'; expected a list of identify, track, page, screen, group, alias "
        "(did you mean track?)",
    ),
    "a day that does not exist": (
        URL + "events: {archive: logs, since: 2025-02-29}\n",
        "windsor.yaml:2 events.since: found '2025-02-29'; expected a day as YYYY-MM-DD",
    ),
    "a day as people write it": (
        URL + "events: {archive: logs, since: 1.6.2025}\n",
        "windsor.yaml:2 events.since: found '1.6.2025'; expected a day as YYYY-MM-DD",
    ),
    "a day with a time": (
        URL + "events: {archive: logs, since: 2025-06-01T00:00:00Z}\n",
        "windsor.yaml:2 events.since: found '2025-06-01T00:00:00Z'; expected a day as YYYY-MM-DD",
    ),
    "a consent category twice": (
        URL + "events: {archive: logs, consent_categories: [C0002, C0002]}\n",
        "windsor.yaml:2 events.consent_categories: found the same value twice; expected a list of consent category ids",
    ),
    "a consent category without a name": (
        URL + "events: {archive: logs, consent_categories: [C0002, ' ']}\n",
        "windsor.yaml:2 events.consent_categories: found blank text; expected a list of consent category ids",
    ),
    "a section of consent categories": (
        URL + "events: {archive: logs, consent_categories: {C0002: true}}\n",
        "windsor.yaml:2 events.consent_categories: found a section; expected a list of consent category ids",
    ),
    "an empty list of calls": (URL + "events: {archive: logs, calls: []}\n", "events.calls: found an empty list"),
    "both sources": (
        snapshot("{path: a.csv, query: select 1, connection: w}"),
        "windsor.yaml:4 audiences['VIP'].snapshot: found both path and query; expected either path, or connection and",
    ),
    "no source": (snapshot("{}"), "windsor.yaml:4 audiences['VIP'].snapshot: found neither path nor query; expected"),
    "no snapshot": (
        URL + "audiences:\n  - name: VIP\n",
        "windsor.yaml:3 audiences['VIP'].snapshot: found nothing; expected a section with path",
    ),
    "a query without a connection": (
        snapshot("{query: select 1}"),
        "windsor.yaml:4 audiences['VIP'].snapshot: found a query without a connection; expected either path",
    ),
    "query_timeout beside path": (
        snapshot("{path: a.csv, query_timeout: 5m}"),
        "windsor.yaml:4 audiences['VIP'].snapshot.query_timeout: found query_timeout beside path; expected it only",
    ),
    "a connection beside path": (
        snapshot("{path: a.csv, connection: w}"),
        "windsor.yaml:4 audiences['VIP'].snapshot.connection: found a connection beside path",
    ),
    "a format beside a query": (
        snapshot("{query: select 1, connection: w, format: csv}"),
        "windsor.yaml:4 audiences['VIP'].snapshot.format: found format beside a query; expected format only beside",
    ),
    "a path that names no format": (
        snapshot("{path: vip/*}"),
        "windsor.yaml:4 audiences['VIP'].snapshot.path: found a path whose end names no format; expected an ending",
    ),
    "columns for Engage's download": (
        snapshot("{path: vip.csv, columns: {user_id: id}}"),
        "windsor.yaml:4 audiences['VIP'].snapshot.columns: found columns for an engage_csv; expected `format: csv`",
    ),
    "an unknown column of ours": (
        snapshot("{path: vip.parquet, columns: {usr_id: id}}"),
        "windsor.yaml:4 audiences['VIP'].snapshot.columns.usr_id: found the key 'usr_id'; expected user_id, anonymous",
    ),
    "a date pattern that strptime does not know": (
        snapshot('{path: vip.csv, taken_at: "%Q"}'),
        "windsor.yaml:4 audiences['VIP'].snapshot.taken_at: found a pattern that strptime does not understand",
    ),
    "a date pattern without a day": (
        snapshot('{path: vip.csv, taken_at: "%Y-%m"}'),
        "windsor.yaml:4 audiences['VIP'].snapshot.taken_at: found a pattern without a whole date; expected a strptime",
    ),
    "a name given twice, in another case": (
        URL + VIP + "  - name: vip\n    trait: other\n    snapshot: {path: a.csv}\n",
        "windsor.yaml:5 audiences['vip'].name: found a name that is taken (line 3); expected each name once",
    ),
    "a key that two names make": (
        URL + VIP + "computed_traits:\n  - name: V.I.P\n    trait: vip\n    snapshot: {path: a.csv}\n",
        "windsor.yaml:7 computed_traits['V.I.P'].trait: 'VIP', 'V.I.P' share the trait key 'vip'",
    ),
    "a name without a key": (
        URL + 'audiences:\n  - name: "¬"\n    snapshot: {path: a.csv}\n',
        "windsor.yaml:3 audiences['¬'].name: the trait key is empty",
    ),
    "a reserved key": (
        URL + "audiences:\n  - name: VIP\n    trait: email\n    snapshot: {path: a.csv}\n",
        "windsor.yaml:4 audiences['VIP'].trait: the trait key 'email' is reserved",
    ),
    "a value for on_missing": (
        URL + "computed_traits:\n  - name: Total\n    on_missing: zero\n    snapshot: {path: a.csv}\n",
        "windsor.yaml:4 computed_traits['Total'].on_missing: found text; expected null, or no such key",
    ),
    "on_missing of an audience": (
        URL + VIP + "    on_missing: null\n",
        "windsor.yaml:5 audiences['VIP'].on_missing: found a key in the wrong section; expected it at "
        "computed_traits[].on_missing",
    ),
    "our own name for on_missing": (
        URL + "computed_traits:\n  - name: T\n    sends_null_when_missing: true\n    snapshot: {path: a.csv}\n",
        "windsor.yaml:4 computed_traits['T'].sends_null_when_missing: found an unknown key",
    ),
    "a field of Settings that is no setting": (URL + "warnings: []\n", "windsor.yaml:2 warnings: found an unknown key"),
    "a database of another kind": (
        URL + "state: mysql://host/db\n",
        "windsor.yaml:2 state: found text that is not such a URL (not shown); expected sqlite:///FILE or postgresql",
    ),
    "a state that forgets": (URL + "state: sqlite://\n", "windsor.yaml:2 state: found SQLite without a file"),
    "a state in memory": (URL + "state: 'sqlite:///:memory:'\n", "windsor.yaml:2 state: found SQLite without a file"),
    "a tag": (URL + "space: !env SPACE\n", "windsor.yaml:2 space: found a tag (!…); expected a plain value"),
    "a key that is a list": (URL + "? [a]\n: b\n", "windsor.yaml:2: found a key that is no plain text"),
    "an alias that contains itself": (
        URL + "audiences: &a [*a]\n",
        "windsor.yaml:2 audiences[item 1]: found an alias that contains itself; expected a value",
    ),
    "a file that is a list": ("- a\n", "windsor.yaml:1: found a file that is no section; expected keys such as"),
    "YAML that ends too early": (URL + "space: [a\n", "windsor.yaml:3: the file cannot be read as YAML: while parsing"),
    "a bracket that stays open": (
        URL + "space: [a,\naudiences: []\n",
        "windsor.yaml:4: the file cannot be read as YAML: while parsing a flow sequence (it begins in line 2); a bracket is",
    ),
    "a key without its colon": (
        URL + "files\nspace: a\n",
        "windsor.yaml:3: the file cannot be read as YAML: while scanning a simple key, could not find expected ':' (it begins "
        "in line 2); a key needs a colon after it",
    ),
    "a section without its colon": (
        "destination\n  url: x\n",
        "windsor.yaml:2: the file cannot be read as YAML: mapping values are not allowed here; give the key above its colon",
    ),
    "a line that is indented too little": (
        "destination:\n    url: x\n  wire: y\n",
        "windsor.yaml:3: the file cannot be read as YAML: while parsing a block mapping, expected <block end>, but found "
        "'<block mapping start>' (it begins in line 1); what belongs together begins in the same column",
    ),
    "a quote that stays open": (URL + "space: 'a\n", "a quote is opened and not closed"),
    "a tab": ("destination:\n\turl: x\n", "windsor.yaml:2: the file cannot be read as YAML: while scanning for the"),
    "two documents": (URL + "---\nspace: a\n", "windsor.yaml:2: the file cannot be read as YAML: expected a single"),
    "a pattern without quotes": (
        URL + "audiences:\n- snapshot:\n    taken_at: %Y\n",
        "windsor.yaml:4: the file cannot be read as YAML: while scanning for the next token, found character '%' that "
        "cannot start any token; put the value in quotes",
    ),
    "a character beyond Unicode": ('space: "\\UFFFFFFFF"\n', "windsor.yaml:1: the file cannot be read as YAML: a num"),
    "half a character": (URL + 'space: "\\ud800"\n', "windsor.yaml:2 space: found half of a surrogate pair"),
    "a control character": (URL + "space: \0\n", "windsor.yaml:2: the file cannot be read as YAML: a control char"),
    "nesting without end": (
        "[" * 3000,
        "windsor.yaml:1: the file cannot be read as YAML: lists or sections are nested",
    ),
}


@pytest.mark.parametrize(("text", "mistake"), ONE_MISTAKE.values(), ids=ONE_MISTAKE.keys())
def test_a_mistake_is_named_with_its_line_and_what_would_be_accepted(folder: Folder, text: str, mistake: str) -> None:
    found = folder.mistakes(text)
    assert len(found) == 1
    assert mistake in found[0]


BAD_URLS = {
    "http://windsor.example/": "http to a host that is not this machine",
    "https://windsor.example/?a=b": "a URL with a query string or a fragment",
    "https://windsor.example/#a": "a URL with a query string or a fragment",
    "https://me:secret@windsor.example/": "a URL with credentials in it",
    "https://windsor.example@evil.example/": "a URL with credentials in it",
    "https://hook.windsor.io/token": "a URL with a token as its path",
    "windsor.example": "text that is not such a URL",
    "ftp://windsor.example/": "text that is not such a URL",
    "https://": "text that is not such a URL",
    "https://windsor.example:99999/": "text that is not such a URL",
    "https://windsor.example:key/": "text that is not such a URL",
    "https://[::1/": "text that is not such a URL",
    "https://windsor\\.example/": "text that is not such a URL",
    "https://windsor.example/a b": "text that is not such a URL",
    "https://wíndsor.example/": "text that is not such a URL",
}


@pytest.mark.parametrize(("url", "found"), BAD_URLS.items())
def test_a_url_that_could_leak_the_key_or_mislead_a_client_is_refused_and_not_shown(
    folder: Folder, url: str, found: str
) -> None:
    mistakes = folder.mistakes(f"destination:\n  url: '{url}'\n")
    assert len(mistakes) == 1
    assert f"windsor.yaml:2 destination.url: found {found}" in mistakes[0]
    assert url not in mistakes[0]


@pytest.mark.parametrize(
    "url",
    [
        "https://windsor.example",
        "https://windsor.example:8443/segment/in",
        "https://hook.windsor.io/",
        "http://localhost:8474/",
        "http://127.0.0.2/",
        "http://[::1]:8474/hook",
    ],
)
def test_https_anywhere_and_http_on_loopback_are_accepted_as_written(folder: Folder, url: str) -> None:
    assert folder.load(f"destination: {{url: '{url}'}}\n").destination.url == url


def test_all_mistakes_of_a_file_and_of_the_environment_come_in_one_go(folder: Folder) -> None:
    text = """\
destination:
  wire: hook
  max_in_flight: many
schedule: {audiences: soon}
audiences:
  - name: VIP
    enabled: on
    snapshot: {format: excel, query: select 1}
  - name: vip
    snapshot: {path: a.csv}
computed_traits:
  - trait: email
"""
    mistakes = folder.mistakes(text, {"WINDSOR_SYNC_DEFAULTS__EMAILS": "some", "WINDSOR_SYNC_STAT": "x"})
    assert [mistake.partition(": ")[0] for mistake in mistakes] == [
        "windsor.yaml:1 destination.url",
        "windsor.yaml:2 destination.wire",
        "windsor.yaml:3 destination.max_in_flight",
        "windsor.yaml:4 schedule.audiences",
        "windsor.yaml:7 audiences['VIP'].enabled",
        "windsor.yaml:8 audiences['VIP'].snapshot",
        "windsor.yaml:8 audiences['VIP'].snapshot.format",
        "windsor.yaml:8 audiences['VIP'].snapshot.format",
        "windsor.yaml:9 audiences['vip'].name",
        "windsor.yaml:12 computed_traits[item 1].name",
        "windsor.yaml:12 computed_traits[item 1].snapshot",
        "WINDSOR_SYNC_STAT",
        "WINDSOR_SYNC_DEFAULTS__EMAILS defaults.emails",
    ]


def test_a_variable_below_a_section_that_is_none_leaves_the_mistake_to_the_file(folder: Folder) -> None:
    (mistake,) = folder.mistakes(
        "destination: {url: 'https://windsor.example/'}\nschedule: often\n", {"WINDSOR_SYNC_SCHEDULE__AUDIENCES": "2h"}
    )
    assert mistake.startswith("windsor.yaml:2 schedule: found")


def test_the_error_says_which_file_that_nothing_was_done_and_what_to_do(folder: Folder) -> None:
    refusal = folder.refusal("space: spa_1\nwire: windsor_hook\n")
    assert refusal.splitlines()[0] == (
        f"The settings in {folder.file} have 2 mistakes; nothing was done. Correct what is listed, then run "
        "`windsor-sync check`."
    )


def test_a_missing_file_says_that_init_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"windsor\.yaml: there is no such file; `windsor-sync init` writes one"):
        load(tmp_path / "windsor.yaml", {})


def test_a_folder_in_the_file_s_place_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it cannot be read"):
        load(tmp_path, {})


def test_bytes_that_are_not_utf_8_are_named_by_line(folder: Folder) -> None:
    assert folder.mistakes(b"space: a\nfiles: \xff\n") == [
        "windsor.yaml:2: found bytes that are not UTF-8; expected UTF-8"
    ]


def test_aliases_that_unfold_into_billions_of_values_are_refused(folder: Folder) -> None:
    lines = ["a: &a [" + ", ".join("x" * 10) + "]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    assert any("unfold into too many values" in mistake for mistake in folder.mistakes("\n".join(lines)))


def test_an_alias_stands_for_what_it_names(folder: Folder) -> None:
    audiences = "audiences:\n- {name: A, snapshot: &s {path: a.csv}}\n- {name: B, snapshot: *s}\n"
    first, second = folder.load(URL + audiences).audiences
    assert first.snapshot == second.snapshot
