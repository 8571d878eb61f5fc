"""What a host's name looks like does not make it this machine, and a dot at its end does not make it another."""

import socket
from pathlib import Path

import pytest

from windsor_sync.errors import ConfigError
from windsor_sync.settings import load
from windsor_sync.settings.addresses import ledger_name


def written(folder: Path, url: str, more: str = "") -> Path:
    """A windsor.yaml with this destination."""
    path = folder / "windsor.yaml"
    path.write_text(f'destination: {{url: "{url}"}}\n{more}')
    return path


def test_a_name_below_localhost_is_loopback_only_where_it_resolves_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant = {"windsor.localhost": ["127.0.0.1"], "evil.localhost": ["127.0.0.1", "192.0.2.7"]}

    def resolve(host: str, port: object, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host not in meant:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 0)) for address in meant[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for url in ("http://windsor.localhost/", "http://localhost/", "http://localhost./", "http://127.0.0.1/"):
        assert load(written(tmp_path, url), env={}).destination.url == url
    for url in ("http://evil.localhost/", "http://nobody.localhost/", "http://windsor.example/"):
        with pytest.raises(ConfigError, match="not this machine"):
            load(written(tmp_path, url), env={})


def test_a_dot_at_the_end_of_a_host_does_not_change_what_it_is(tmp_path: Path) -> None:
    assert ledger_name("https://windsor.example./hook") == ledger_name("https://windsor.example/hook")
    with pytest.raises(ConfigError, match="token"):
        load(written(tmp_path, "https://hook.windsor.io./0123456789"), env={})


def test_settings_above_one_megabyte_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "http://127.0.0.1/", "# " + "x" * 1_000_000)
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        load(path, env={})


def test_a_key_without_a_certificate_is_a_mistake_and_their_paths_count_from_the_file(tmp_path: Path) -> None:
    lines = "destination:\n  url: https://windsor.example/\n  client_key: key.pem\n"
    (tmp_path / "windsor.yaml").write_text(lines)
    with pytest.raises(ConfigError, match="client_certificate"):
        load(tmp_path / "windsor.yaml", env={})
    (tmp_path / "windsor.yaml").write_text(lines + "  client_certificate: pair.pem\n")
    destination = load(tmp_path / "windsor.yaml", env={}).destination
    assert destination.client_certificate == str(tmp_path / "pair.pem")
    assert destination.client_key == str(tmp_path / "key.pem")
