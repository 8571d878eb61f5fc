"""A key is taken as it was meant: what nobody can see around it is taken off, what nobody can see within it is named."""

import pytest
from settings_folder import Folder

from windsor_sync.errors import ConfigError
from windsor_sync.settings.keys import clean_key
from windsor_sync.usecases.workspace import (
    API_KEY_VARIABLE,
    SEGMENT_TOKEN_VARIABLE,
    key_from_environment,
    token_from_environment,
)

AROUND = [" {}", "{}\n", "{}\r\n", "\t{}\t", "\ufeff{}\n", "\u200b{}\xa0"]


@pytest.mark.parametrize("text", AROUND)
def test_white_space_around_a_key_in_the_environment_is_taken_off(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, text.format("k3y"))
    monkeypatch.setenv(SEGMENT_TOKEN_VARIABLE, text.format("sgp"))
    assert (key_from_environment(), token_from_environment()) == ("k3y", "sgp")


@pytest.mark.parametrize("key", ["two words", "two\nlines", "bell\x07", "zero\u200bwidth"])
def test_what_nobody_sees_within_a_key_is_named_and_the_key_is_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    with pytest.raises(ConfigError, match="API key for Windsor in WINDSOR_API_KEY has white space") as refused:
        key_from_environment()
    assert key not in str(refused.value)


@pytest.mark.parametrize("nothing", ["", " ", "\n", "\ufeff"])
def test_white_space_alone_is_no_key(nothing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, nothing)
    monkeypatch.setenv(SEGMENT_TOKEN_VARIABLE, nothing)
    with pytest.raises(ConfigError, match="There is no API key for Windsor"):
        key_from_environment()
    with pytest.raises(ConfigError, match="There is no token"):
        token_from_environment()
    assert clean_key(nothing, "The key", "a place") == ""


def test_white_space_around_an_address_is_taken_off(folder: Folder) -> None:
    yaml = 'destination: {url: " http://127.0.0.1:1/in\\n"}\nspace: s\nsegment: {url: " http://127.0.0.1:2/ "}\n'
    settings = folder.load(yaml)
    assert settings.segment is not None
    assert (settings.destination.url, settings.destination.name, settings.segment.url) == (
        "http://127.0.0.1:1/in",
        "127.0.0.1:1/in",
        "http://127.0.0.1:2/",
    )
