"""A secret in the wrong place is refused, with the right place, and never repeated."""

import logging
import traceback

import pytest
from settings_folder import URL, Folder

from windsor_sync.settings import Destination, InvalidSettings, load

CANARY = "hunter2canary"

# Each puts a secret where somebody may put one, well-formed or not.
WITH_SECRET = [
    f"destination: {{url: http://localhost/, api_key: {CANARY}}}",
    f"destination: {{url: http://localhost/, token: {CANARY}}}",
    f"destination: {{url: http://localhost/, password: {CANARY}}}",
    f"destination: {{url: http://localhost/, key: [{CANARY}]}}",
    f"destination: {{url: http://localhost/, apikey: {CANARY}}}",
    f"destination: {{url: http://localhost/, basic_auth: {{user: {CANARY}}}}}",
    f"destination: {{url: 'https://{CANARY}@windsor.example/'}}",
    f"destination: {{url: 'https://me:{CANARY}@windsor.example/'}}",
    f"destination: {{url: 'https://me:{CANARY}'}}",
    f"destination: {{url: 'https://windsor.example/?key={CANARY}'}}",
    f"destination: {{url: 'https://hook.windsor.io/{CANARY}'}}",
    f"destination: {{url: '{CANARY}'}}",
    f"destination: {CANARY}",
    f"destination: [{CANARY}]",
    f"{URL}state: mysql://me:{CANARY}@host/db",
    f"{URL}state: sqlite://me:{CANARY}@host",
    f"{URL}state: {CANARY}",
    f"{URL}files: s3://id:{CANARY}@bucket/x",
    f"{URL}events: {{archive: 's3://id:{CANARY}@bucket/x'}}",
    f"{URL}audiences: [{{name: A, snapshot: {{path: 'ftp://id:{CANARY}@host/a.csv'}}}}]",
    f"{URL}audiences: [{{name: A, snapshot: {{query: {CANARY}}}}}]",
    f"{URL}audiences: [{{name: A, snapshot: {{password: {CANARY}, path: a.csv}}}}]",
    f"{URL}audiences: [{CANARY}]",
    f"{URL}unheard_of: {CANARY}",
    f"destination: {{url: http://localhost/, token: *{CANARY}}}",
    f"destination: {{url: http://localhost/, token: !{CANARY}!x y}}",
    f"destination: {{url: http://localhost/, token: !{CANARY} y}}",
    f"a: &{CANARY} 1\nb: &{CANARY} 2",
    f"destination:\n  token: {CANARY}\n bad indent: {CANARY}",
    f"token: '{CANARY}",
    f"token: {CANARY} : {CANARY}",
    f"- {CANARY}",
    CANARY,
    f"{URL}token: '{CANARY}'\ntoken: '{CANARY}'",
]


@pytest.mark.parametrize("text", WITH_SECRET)
def test_a_secret_in_the_file_is_never_repeated(
    folder: Folder, text: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.file.write_text(text)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(InvalidSettings) as refused:
        load(folder.file, {})
    printed = "".join(traceback.format_exception(refused.value))
    assert refused.value.__context__ is None  # PyYAML's and pydantic's own errors quote the file
    assert CANARY not in printed + repr(refused.value) + caplog.text + "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STATE", f"mysql://me:{CANARY}@host/db"),
        ("DESTINATION__URL", f"https://me:{CANARY}@windsor.example/"),
        ("DESTINATION__API_KEY", CANARY),
        ("API_KEY", CANARY),
        ("FILES", f"s3://id:{CANARY}@bucket"),
        ("UNHEARD_OF", CANARY),
    ],
)
def test_a_secret_in_a_variable_is_never_repeated(folder: Folder, name: str, value: str) -> None:
    refusal = folder.refusal(URL, {f"WINDSOR_SYNC_{name}": value})
    assert f"WINDSOR_SYNC_{name}" in refusal
    assert CANARY not in refusal


@pytest.mark.parametrize("key", ["api_key", "token", "password", "key", "apiKey", "write-key", "client_secret"])
def test_a_key_in_the_file_is_told_where_it_belongs(folder: Folder, key: str) -> None:
    (mistake,) = folder.mistakes(f"destination:\n  url: http://localhost/\n  {key}: {CANARY}\n")
    assert mistake.startswith(f"windsor.yaml:3 destination.{key}: a credential does not belong here")
    assert "destination.connection" in mistake
    assert "WINDSOR_API_KEY" in mistake


def test_a_key_in_a_variable_of_ours_is_told_where_it_belongs(folder: Folder) -> None:
    (mistake,) = folder.mistakes(URL, {"WINDSOR_SYNC_DESTINATION__API_KEY": CANARY})
    assert "into the variable WINDSOR_API_KEY" in mistake


@pytest.mark.parametrize("key", ["trait_key", "key"])
def test_a_misspelled_trait_key_is_not_taken_for_a_credential(folder: Folder, key: str) -> None:
    (mistake,) = folder.mistakes(f"{URL}audiences: [{{name: A, {key}: vip, snapshot: {{path: a.csv}}}}]\n")
    assert "found an unknown key" in mistake


def test_the_state_s_password_is_not_in_the_settings_text_or_warnings(folder: Folder) -> None:
    settings = folder.load(f"{URL}state: postgresql+psycopg://me:{CANARY}@host/db\n")
    assert CANARY in settings.state
    assert CANARY not in f"{settings} {settings!r} {settings.warnings}"


def test_a_model_built_by_hand_does_not_repeat_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="credentials") as refused:
        Destination(url=f"https://me:{CANARY}@windsor.example/")
    assert CANARY not in "".join(traceback.format_exception(refused.value))
