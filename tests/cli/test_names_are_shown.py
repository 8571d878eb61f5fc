"""Names of files, audiences and columns are shown, never obeyed: no terminal, browser or log gets a control character."""

import json
import unicodedata
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from tests.cli.test_command_line import Ran, run
from tests.support.world import World
from windsor_sync.airflow.notifications.windsor import AudienceStateNotifier
from windsor_sync.airflow.plan_text import as_markdown
from windsor_sync.cli.output import echo, print_json
from windsor_sync.domain.alert import Alert, AlertEvent
from windsor_sync.errors import ConfigError, harmless
from windsor_sync.report.document import report
from windsor_sync.report.rendering import Links, render
from windsor_sync.report.terminal import print_table, say
from windsor_sync.sandbox import Faults
from windsor_sync.usecases.alert_targets import AlertTarget
from windsor_sync.usecases.alerts import after_run, tell

ODD = "x\x1b[31mred\x07\u202egnp\u2066\x9b2J\u2028\r\ny"
"""Colours, a bell, marks of direction, a control sequence of one character, and three kinds of line break."""
NAME = "VIP \u202egnp\u2066\u200f\ufeff"
"""What windsor.yaml allows in a name: it refuses control characters."""
LETTERS = "Größe 日本 😀 ▲—'\""


def obeyed(text: str) -> set[str]:
    """The characters of a text, other than its line feeds, that do something instead of being seen."""
    return {each for each in text if each != "\n" and unicodedata.category(each) in {"Cc", "Cf", "Zl", "Zp"}}


@pytest.fixture
def odd_world(world: World) -> World:
    """A project whose audience, folder, files, columns and events have such names."""
    folder = world.folder / f"snap {ODD}"
    folder.mkdir()
    (folder / f"vip {ODD}.csv").write_bytes(
        "user_id,email\nmüller,a@example.com\nana,b@example.com\n".encode("latin-1")
    )
    day = world.folder / "archive" / f"source {ODD}" / "1700006400000"
    day.mkdir(parents=True)
    (day / f"1 {ODD}.json").write_text("no message\n")
    world.document["audiences"] = [
        {"name": NAME, "trait": "vip", "snapshot": {"path": "snap */*.csv"}},
        {"name": f"Gone {NAME}", "trait": "gone", "snapshot": {"path": "none/*.csv"}},
        {"name": f"Flags {NAME}", "trait": "flags", "snapshot": {"path": "flags*.csv"}},
    ]
    world.document["computed_traits"] = []
    world.document["events"] = {"archive": "archive"}
    (world.folder / f"flags {ODD}.csv").write_text(f'user_id,"flag {ODD}"\nana,true\nben,false\n', newline="")
    return world


def command(world: World, *words: str) -> Ran:
    return run("--config", str(world.config), *words, WINDSOR_API_KEY=world.windsor.api_key, HOME=str(world.folder))


COMMANDS = [
    ("plan", "--all"),
    ("sync", "--all"),
    ("check",),
    ("audiences",),
    ("runs",),
    ("why", "ana"),
    ("audit",),
    ("forward",),
    ("sync", f"Vip {ODD}"),
    ("sync", f"{NAME}?"),
    ("backfill", "vip", "--snapshot", f"no {ODD}.csv"),
]


def test_no_command_prints_what_a_terminal_would_obey(odd_world: World) -> None:
    for words in COMMANDS:
        ran = command(odd_world, *words)
        assert (words, obeyed(ran.out + ran.err)) == (words, set())
        assert "Traceback" not in ran.err
        assert not [line for line in (ran.out + ran.err).splitlines() if line.startswith("y")], words


def test_json_stays_json_and_keeps_the_names(odd_world: World) -> None:
    command(odd_world, "sync", "vip")
    for words in (("audiences", "--json"), ("check", "--json"), ("runs", "--json")):
        ran = command(odd_world, *words)
        assert (words, obeyed(ran.out)) == (words, set())
        assert isinstance(json.loads(ran.out), list | dict)
    listed = command(odd_world, "audiences", "--json").json["audiences"]
    assert [row["name"] for row in listed] == [NAME, f"Gone {NAME}", f"Flags {NAME}"]


@pytest.mark.parametrize("words", [("init",), ("init", "--json")], ids=" ".join)
def test_init_counts_odd_names_and_repeats_none(tmp_path: Path, words: tuple[str, ...]) -> None:
    for name in (f"vip {ODD}.csv", f"a {ODD}/vip.csv", "plain.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'"user {ODD}",email\nana,a@example.com\n', newline="")
    ran = run(*words, cwd=tmp_path)
    assert obeyed(ran.out + ran.err) == set()
    said = " ".join(_texts(ran.json)) if "--json" in words else ran.out
    assert "2 names with one of" in said
    assert not any(odd in said for odd in (ODD, harmless(ODD), "red"))
    assert obeyed((tmp_path / "windsor.yaml").read_text(encoding="utf-8")) == set()


def _texts(value: object) -> Iterator[str]:
    """Every text in a document of JSON."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value


def test_what_people_are_told_of_an_audience_obeys_nothing(odd_world: World) -> None:
    """The texts that a notifier passes on: a withheld removal, a new name for it, Windsor's own words, a healed state."""
    many = [f"user-{number:03}" for number in range(200)]
    odd_world.document["audiences"] = [
        {"name": NAME, "trait": f"vip {NAME}", "snapshot": {"path": "snapshots/vip/*.csv"}}
    ]
    odd_world.document["destination"] = {"name": f"windsor {NAME}"}
    odd_world.destination["name"] = f"windsor {NAME}"
    told: list[Alert] = []
    for members, faults in (
        (many, Faults()),
        (many[:10], Faults()),
        (many, Faults()),
        (many[1:], Faults(revoked_after=0)),
    ):
        odd_world.windsor.set_faults(faults)
        odd_world.snapshot(members, folder="vip")
        after_run(odd_world.workspace, odd_world.sync(NAME))
        tell(odd_world.workspace, [AlertTarget("list", tuple(AlertEvent), told.append)])
    assert [one.event for one in told] == [AlertEvent.WITHHELD, AlertEvent.RECOVERED, AlertEvent.CREDENTIALS_REFUSED]
    log: list[str] = []
    notifier = AudienceStateNotifier()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            AudienceStateNotifier,
            "log",
            SimpleNamespace(warning=lambda form, *values: log.append(form % values)),
        )
        for one in told:
            notifier._into_log(one)
    for text in (*log, *(part for one in told for part in (one.title, one.text, one.subject, *one.audiences))):
        assert obeyed(text) == set(), text


def test_the_report_and_the_plan_in_markdown_obey_nothing(odd_world: World) -> None:
    command(odd_world, "sync", "vip")
    text = report(odd_world.workspace)
    assert (obeyed(text), harmless(NAME) in text) == (set(), True)
    assert obeyed(as_markdown([], reason=ODD)) == set()


def test_signs_of_every_script_are_shown_as_they_are() -> None:
    assert harmless(LETTERS) == LETTERS
    assert harmless(ODD) == r"x\x1b[31mred\x07\u202egnp\u2066\x9b2J\u2028\r\ny"


STRANGE = st.sampled_from(
    [*map(chr, range(0x20)), "\x7f", *map(chr, range(0x80, 0xA0)), *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e",
     *"\u2066\u2067\u2068\u2069\u2028\u2029\ufeff\u200b", "\U0001f9ff", "\U000e0041", "\U0010ffff", *"<>&\"'`|[]()!\\"]
)  # fmt: skip


@given(st.text(STRANGE | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_no_output_obeys_any_character_of_a_name(name: str) -> None:
    plan = {
        "audience": name,
        "taken_at": "2026-01-01T02:30:00+00:00",
        "withheld_because": [name],
        "example": {name: name},
    }
    counts = dict.fromkeys(("members", "entered", "exited", "updated", "withheld", "messages", "requests"), 1)
    with redirect_stdout(TextIOWrapper(BytesIO(), encoding="utf-8")) as out, redirect_stderr(StringIO()) as err:
        print_table(("audience", "n"), [[name, 1]], numbers=frozenset({"n"}))
        print_json({name: [name]})
        echo(f"{name}: {name}")
        say(name)
        out.seek(0)
        printed = out.read().replace("\r\n", "\n") + err.getvalue()
    page = render("message.html", title=name, text=name, links=Links("", ""))
    shown = (
        printed,
        str(ConfigError(f"{name} is odd.")),
        as_markdown([{**plan, **counts, "seconds": 1.0}], name),
        page,
    )
    assert [obeyed(text) for text in shown] == [set()] * len(shown)
    assert Markup.escape(harmless(name)) in page
