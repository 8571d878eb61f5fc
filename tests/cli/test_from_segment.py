"""`audiences --from-segment`: what the space has, and a windsor.yaml that gains lines and loses none."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from tests.cli.test_command_line import Ran, run
from tests.support.segment_api import SPACE, TOKEN, SegmentApi
from tests.support.world import AUDIENCE, KEY, World
from windsor_sync.errors import ConfigError
from windsor_sync.settings import TEMPLATE, load
from windsor_sync.settings.insertion import Entry, add, as_yaml

Ask = Callable[..., Ran]

BY_HAND = """\
# kept by hand
space: spa_test   # ours
destination: {url: http://127.0.0.1:8474/}

audiences:
    # the big one
    - name: Order Completed Last 30days
      id: aud_1
      snapshot:
        path: a.csv   # the file
        # format: engage_csv

    # - name: VIP

computed_traits: []
"""


@pytest.fixture
def ask(tmp_path: Path, segment_api: SegmentApi) -> Ask:
    """`windsor-sync audiences --from-segment` on a windsor.yaml of its own."""
    file = tmp_path / "windsor.yaml"
    file.write_text(BY_HAND.replace("computed_traits: []\n", f"segment: {{url: {segment_api.url}}}\n"))

    def call(*options: str, token: str = TOKEN) -> Ran:
        arguments = ("--config", str(file), "audiences", "--from-segment", *options)
        return run(*arguments, cwd=tmp_path, SEGMENT_PUBLIC_API_TOKEN=token)

    return call


def test_the_list_says_what_is_configured_and_prints_the_lines_that_are_missing(
    ask: Ask, segment_api: SegmentApi, tmp_path: Path
) -> None:
    segment_api.audience(AUDIENCE, KEY, "1", size={"count": 1200, "type": "USERS"})
    segment_api.audience("Big Spender", "big_spender_2", "2", status="Computing")
    segment_api.computed_trait("Total", "total", "3")
    before = (tmp_path / "windsor.yaml").read_bytes()
    shown = ask()
    assert (shown.status, shown.err) == (0, "")
    assert "1,200" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 100
    assert yaml.safe_load(shown.out.partition("--write adds them:")[2]) == {
        "audiences": [
            {
                "name": "Big Spender",
                "id": "aud_2",
                "trait": "big_spender_2",
                "enabled": False,
                "snapshot": {"path": "snapshots/big_spender_2/*.csv", "format": "engage_csv"},
            }
        ],
        "computed_traits": [
            {
                "name": "Total",
                "id": "tra_3",
                "enabled": False,
                "snapshot": {"path": "snapshots/total/*.csv", "format": "engage_csv"},
            }
        ],
    }
    assert (tmp_path / "windsor.yaml").read_bytes() == before
    rows = ask("--json").json["audiences"]
    assert [(row["id"], row["users"], row["status"], row["configured"]) for row in rows] == [
        ("aud_1", 1200, "Live", "yes"),
        ("aud_2", None, "Computing", "no"),
        ("tra_3", None, "Live", "no"),
    ]


def test_write_adds_what_is_missing_keeps_every_line_and_a_second_time_changes_nothing(
    ask: Ask, segment_api: SegmentApi, tmp_path: Path
) -> None:
    file = tmp_path / "windsor.yaml"
    before = file.read_text()
    for number in range(1, 4):
        segment_api.audience(f"Audience {number}" if number > 1 else AUDIENCE, f"audience_{number}", str(number))
    assert "Added 2 to windsor.yaml, not enabled yet" in ask("--write").out
    after = file.read_text()
    rest = iter(after.splitlines())
    assert all(line in rest for line in before.splitlines())
    assert [(one.name, one.id, one.enabled) for one in load(file, {}).audiences][1:] == [
        ("Audience 2", "aud_2", False),
        ("Audience 3", "aud_3", False),
    ]
    assert "has everything already" in ask("--write").out
    assert file.read_text() == after


def test_what_cannot_be_added_is_named_with_the_reason_and_the_rest_is_added(
    ask: Ask, segment_api: SegmentApi, tmp_path: Path
) -> None:
    segment_api.audience("Same", "same", "2")
    segment_api.audience("SAME", "other", "3")
    segment_api.audience("Mail", "email", "4")
    segment_api.audience("Key Again", "same", "5")
    segment_api.audience("Two\nlines", "two", "6")
    segment_api.audience("Linked", "linked", "7", audienceType="LINKED")
    ran = ask("--write", "--json")
    problems = {row["id"]: row["problem"] for row in ran.json["audiences"]}
    assert [entry["id"] for entry in ran.json["added"]] == ["aud_2"]
    assert problems["aud_2"] is None
    for number, words in {
        3: "name is taken",
        4: "reserved",
        5: "'same' is taken",
        6: "line break",
        7: "linked",
    }.items():
        assert words in problems[f"aud_{number}"]
    assert [one.id for one in load(tmp_path / "windsor.yaml", {}).audiences] == ["aud_1", "aud_2"]


def test_a_name_cannot_move_what_a_terminal_shows(ask: Ask, segment_api: SegmentApi) -> None:
    segment_api.audience("Two\nlines \x1b[2J", "two\x07", "2", status="Live\x1b[31m")
    segment_api.audience("Café\u00a0漢", "cafe", "3")
    shown = ask()
    assert r"Two\nlines \x1b[2J" in shown.out
    assert any(line.startswith(r"Café\xa0漢") for line in shown.out.splitlines())
    assert not set(shown.out) & set("\x1b\x07")


def test_an_entry_is_ready_for_a_sync_once_its_snapshot_is_there(world: World, segment_api: SegmentApi) -> None:
    segment_api.audience("Big Spender", "big_spender_2", "2", size={"count": 2, "type": "USERS"})
    world.document.update(space=SPACE, segment={"url": segment_api.url}, audiences=[])
    world.document["computed_traits"] = []
    config = world.config

    def cli(*arguments: str) -> Ran:
        key = world.windsor.api_key
        return run("--config", str(config), *arguments, SEGMENT_PUBLIC_API_TOKEN=TOKEN, WINDSOR_API_KEY=key)

    assert cli("audiences", "--from-segment", "--write").status == 0
    config.write_text(config.read_text().replace("    enabled: false\n", ""))
    world.snapshot(["ana", "ben"], folder="big_spender_2")
    synced = cli("sync", "--all", "--json")
    assert (synced.status, synced.json["runs"][0]["delivered"]) == (0, 2)
    assert world.members_shown("big_spender_2") == {"ana", "ben"}
    segment_api.audiences[0]["status"] = "Computing"
    refused = cli("sync", "--all")
    assert (refused.status, "Segment reports Big Spender as Computing" in refused.err) == (8, True)
    checked = cli("check", "--json").json
    assert [one["level"] for one in checked if one["subject"] == "Segment"] == ["ok"]


def test_the_configured_audiences_are_listed_while_segment_is_down(
    ask: Ask, segment_api: SegmentApi, tmp_path: Path
) -> None:
    segment_api.is_down = True
    listed = run("--config", str(tmp_path / "windsor.yaml"), "audiences", "--json", SEGMENT_PUBLIC_API_TOKEN=TOKEN)
    assert [one["trait"] for one in listed.json["audiences"]] == [KEY]


@pytest.mark.parametrize(("token", "status", "words"), [("", 2, "SEGMENT_PUBLIC_API_TOKEN"), ("wrong", 5, "(401)")])
def test_a_token_that_is_missing_or_refused_is_told_and_not_shown(
    ask: Ask, token: str, status: int, words: str
) -> None:
    ran = ask(token=token)
    assert (ran.status, words in ran.err) == (status, True)
    assert not token or token not in ran.err + ran.out


def test_write_alone_and_a_file_without_a_space_are_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "windsor.yaml"
    file.write_text("destination: {url: http://127.0.0.1:8474/}\n")
    assert run("--config", str(file), "audiences", "--write").status == 2
    ran = run("--config", str(file), "audiences", "--from-segment", SEGMENT_PUBLIC_API_TOKEN=TOKEN)
    assert (ran.status, "names no space" in ran.err) == (2, True)


# -- the file ----------------------------------------------------------------------------------------------------

NEW = Entry("audiences", "Big Spender", "aud_9", None, "snapshots/big_spender/*.csv")
NEW_TRAIT = Entry("computed_traits", "Total: all", "tra_9", "total", "snapshots/total/*.csv")
URL = "destination: {url: http://127.0.0.1:8474/}\n"


def added_to(text: str | bytes, folder: Path, *entries: Entry) -> bytes:
    file = folder / "windsor.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    add(load(file, {}), entries or (NEW, NEW_TRAIT), {})
    assert [one.name for one in load(file, {}).computations if not one.enabled] != []
    assert [left.name for left in folder.iterdir()] == ["windsor.yaml"]
    return file.read_bytes()


def test_a_new_entry_follows_the_last_one_with_its_comments_and_as_it_is_indented(tmp_path: Path) -> None:
    written = added_to(BY_HAND.replace("computed_traits: []\n", ""), tmp_path, NEW).decode()
    assert written == BY_HAND.replace("computed_traits: []\n", "").replace(
        "        # format: engage_csv\n",
        "        # format: engage_csv\n"
        "    - name: Big Spender\n"
        "      id: aud_9\n"
        "      enabled: false\n"
        "      snapshot:\n"
        "        path: snapshots/big_spender/*.csv\n"
        "        format: engage_csv\n",
    )


ITEM = "name: A\n  snapshot: {path: a.csv}\n"


@pytest.mark.parametrize(
    "text",
    [
        URL,
        URL.rstrip("\n"),
        f"{URL}audiences:\n",
        f"{URL}audiences:   # none yet\n\n# the end",
        f"audiences:\n  # - name: x\n{URL}",
        f"{URL}audiences:\n- {ITEM}",
        f"{URL}audiences:\n- {ITEM}".rstrip("\n"),
        f"{URL}audiences:\n- {ITEM}  # below\n# beside\ndefaults: {{emails: last}}\n",
        f"audiences:\n- name: A\n  snapshot:\n    connection: c\n    query: |\n      select 1\n\n      from a\n\n\n{URL}",
        f"{URL}computed_traits:\n- {ITEM}audiences:\n- name: B\n  snapshot: {{path: b.csv}}\n",
        TEMPLATE,
        "# ünï\n" + TEMPLATE,
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_byte_of_the_file_stays_in_its_order(tmp_path: Path, text: str, line_end: str, mark: bytes) -> None:
    before = mark + text.replace("\n", line_end).encode()
    after = added_to(before, tmp_path)
    rest = iter(after.split(b"\n"))
    assert all(line.rstrip(b"\r") in (other.rstrip(b"\r") for other in rest) for line in before.split(b"\n") if line)
    assert after.startswith(mark)
    assert after.count(b"\r\n") == (after.count(b"\n") if line_end == "\r\n" and "\n" in text.rstrip("\n") else 0) or (
        "\n" not in text.rstrip("\n")
    )


@pytest.mark.parametrize(
    "text",
    [
        "{destination: {url: http://127.0.0.1:8474/}}",
        f"{URL}audiences: [{{name: A, snapshot: {{path: a.csv}}}}]\n",
        f"{URL}audiences:\n- &one\n  {ITEM}computed_traits: null\n...\n",
        f"{URL}audiences:\n- name: Big spender\n  snapshot: {{path: a.csv}}\n",
        f"{URL}# a line end\u2028# of its own\n",
    ],
)
def test_where_there_is_no_safe_place_nothing_is_changed_and_the_lines_can_be_pasted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "windsor.yaml"
    file.write_text(text)
    try:
        settings = load(file, {})
    except ConfigError:
        pytest.fail("the case itself must be valid")
    with pytest.raises(ConfigError, match="without --write and paste"):
        add(settings, [NEW, NEW_TRAIT], {})
    assert file.read_text() == text
    assert [left.name for left in tmp_path.iterdir()] == ["windsor.yaml"]


def test_an_empty_list_becomes_one_with_the_entry(tmp_path: Path) -> None:
    written = added_to(f"{URL}audiences: []  # none yet\ndefaults: {{emails: last}}\n", tmp_path, NEW).decode()
    assert written.splitlines()[1:3] == ["audiences:  # none yet", "  - name: Big Spender"]
    assert written.splitlines()[-1] == "defaults: {emails: last}"


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "windsor.yaml"
    file.write_text(URL)
    settings = load(file, {})
    file.write_text(URL + "schedule: {audiences: 3h}\n")
    with pytest.raises(ConfigError, match="would change what it says elsewhere"):
        add(settings, [NEW], {})
    assert "3h" in file.read_text()


def test_permissions_stay(tmp_path: Path) -> None:
    file = tmp_path / "windsor.yaml"
    file.write_text(URL)
    file.chmod(0o640)
    add(load(file, {}), [NEW], {})
    assert file.stat().st_mode & 0o777 == 0o640


@effort(max_examples=100, deadline=None)
@given(name=st.text(min_size=1, max_size=20), trait=st.none() | st.text(min_size=1, max_size=20))
def test_names_and_keys_come_back_to_the_letter(name: str, trait: str | None) -> None:
    entry = Entry("audiences", name, "aud_1", trait, "snapshots/x/*.csv")
    read = yaml.load(as_yaml([entry]), Loader=yaml.BaseLoader)
    assert (read["audiences"][0]["name"], read["audiences"][0].get("trait")) == (name, trait)
    assert json.dumps(read)


PAGE = (Path(__file__).parents[2] / "docs" / "sources" / "public-api.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_list_what_the_space_has_and_write_what_is_missing(
    ask: Ask, segment_api: SegmentApi, tmp_path: Path
) -> None:
    segment_api.audience(AUDIENCE, KEY, "1")
    segment_api.audience("Big Spender", "big_spender", "2", size={"count": 1200, "type": "USERS"})
    commands = [
        shlex.split(command, comments=True) for command in re.findall(r"^windsor-sync (.+)$", PAGE, re.MULTILINE)
    ]
    assert commands == [["audiences", "--from-segment"], ["audiences", "--from-segment", "--write"]]
    for command in commands:
        ran = run("--config", str(tmp_path / "windsor.yaml"), *command, cwd=tmp_path, SEGMENT_PUBLIC_API_TOKEN=TOKEN)
        assert (ran.status, ran.err) == (0, "")
    assert [one.name for one in load(tmp_path / "windsor.yaml", {}).audiences] == [AUDIENCE, "Big Spender"]


def test_the_settings_of_the_page_are_valid(tmp_path: Path) -> None:
    [settings] = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "windsor.yaml").write_text(
        f"destination: {{url: http://127.0.0.1:8474/}}\n{settings}", encoding="utf-8"
    )
    segment = load(tmp_path / "windsor.yaml", {}).segment
    assert segment is not None
    assert (segment.connection, segment.size_tolerance_percent) == ("segment_default", 5)


def test_nothing_in_a_name_of_segments_is_obeyed_where_it_is_printed() -> None:
    for name in ("a\u202eb", "tab\there", "é", "x: [y", "null", "\x1b[31m"):
        printed = as_yaml([Entry("audiences", name, "aud_1", None, "snapshots/a/*.csv")])
        assert all(line.isprintable() for line in printed.splitlines())
        assert yaml.safe_load(printed)["audiences"][0]["name"] == name
