"""`alerts:` names receivers, and no secret."""

from pathlib import Path

import pytest

from windsor_sync.domain.alert import AlertEvent
from windsor_sync.settings import InvalidSettings, Settings, load

START = "destination: {url: 'https://windsor.example/'}\n"


def read(folder: Path, alerts: str) -> Settings:
    path = folder / "windsor.yaml"
    path.write_text(START + alerts, encoding="utf-8")
    return load(path, env={})


def test_a_notifier_gets_its_arguments_as_yaml_means_them(tmp_path: Path) -> None:
    (one,) = read(
        tmp_path,
        "alerts:\n"
        "  - notifier: a.b.Notifier\n"
        "    arguments: {to: [a@example.com], port: 25, html: true, id: '007', more: {text: '{{ windsor.text }}'}, no: null,"
        " token: '{{ conn.x.password }}'}\n"
        "    events: [late]\n",
    ).alerts
    assert one.arguments == {
        "to": ["a@example.com"],
        "port": 25,
        "html": True,
        "id": "007",
        "more": {"text": "{{ windsor.text }}"},
        "no": None,
        "token": "{{ conn.x.password }}",
    }
    assert one.events == (AlertEvent.LATE,)


def test_a_webhook_is_told_everything_unless_it_says_otherwise(tmp_path: Path) -> None:
    found = read(tmp_path, "alerts: [{webhook: 'https://hooks.example/x'}, {connection: pager}]\n").alerts
    assert [one.events for one in found] == [tuple(AlertEvent)] * 2


def test_a_receiver_in_two_entries_has_other_events_in_each(tmp_path: Path) -> None:
    one, two = (
        "webhook: 'https://h.example/', events: [late, recovered]",
        "webhook: 'https://h.example/', events: [stale, recovered]",
    )
    assert len(read(tmp_path, f"alerts: [{{{one}}}, {{{two}}}, {{{two}, connection: other}}]\n").alerts) == 3
    for again in (one, "webhook: 'https://h.example/'"):
        with pytest.raises(InvalidSettings, match="found a receiver that stands above for the same event"):
            read(tmp_path, f"alerts: [{{{one}}}, {{{again}}}]\n")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("{events: [late]}", "neither webhook nor notifier"),
        ("{webhook: 'https://h.example/', notifier: a.B}", "both a webhook and a notifier"),
        ("{webhook: 'http://h.example/'}", "http to a host that is not this machine"),
        ("{webhook: 'https://h.example/?sig=geheim'}", "query"),
        ("{webhook: 'https://u:geheim@h.example/'}", "credentials"),
        ("{notifier: not-a-path}", "the path of a class"),
        ("{notifier: a.B, arguments: {password: geheim}}", "a credential (not shown)"),
        ("{notifier: a.B, arguments: {more: {api_key: geheim}}}", "a credential (not shown)"),
        ("{webhook: 'https://h.example/', arguments: {a: b}}", "arguments without a notifier"),
        ("{webhook: 'https://h.example/', events: [tomorrow]}", "withheld"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_its_secret(tmp_path: Path, item: str, said: str) -> None:
    with pytest.raises(InvalidSettings) as raised:
        read(tmp_path, f"alerts: [{item}]\n")
    assert said in str(raised.value)
    assert "geheim" not in str(raised.value)


def test_a_notifier_whose_text_says_nothing_is_warned_about(tmp_path: Path) -> None:
    (warning, *_) = read(tmp_path, "alerts: [{notifier: a.B, arguments: {to: x}}]\n").warnings
    assert "windsor.text" in str(warning)
