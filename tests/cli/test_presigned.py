"""A presigned URL is shown without what lets others in, wherever it is shown."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deploy.local import environment
from tests.chaos.test_canary import dump
from tests.cli.test_remedies import run
from tests.support.clocks import seconds
from tests.support.world import World
from windsor_sync.demo import play
from windsor_sync.errors import ConfigError, without_secrets

SIGNED = "X-Amz-Credential=AKIDCANARY&X-Amz-Signature=c4n4ry"

SHOWN = {
    f"https://b.s3.example/vip.csv?{SIGNED}: no such file.": "https://b.s3.example/vip.csv?…: no such file.",
    "az://c/vip.csv?sv=1&sig=c4n4ry%3D": "az://c/vip.csv?…",
    "zip://vip.csv::https://c4n4ry@h.example/vip.zip?sig=c4n4ry": "zip://vip.csv::https://…@h.example/vip.zip?…",
    f"https://h.example/to?next=https://b.example/vip.csv&{SIGNED}": "https://h.example/to?…",
    "HTTPS://ana:c4n4ry@h.example/?c4n4ry": "HTTPS://…@h.example/?…",
    "s3://exports/day-?.csv and what? a=b": "s3://exports/day-?.csv and what? a=b",
    "abfs://exports@acme.dfs.core.windows.net/vip.csv": "abfs://exports@acme.dfs.core.windows.net/vip.csv",
    f'{{"path": "https://h.example/vip.csv?{SIGNED}", "x": "=?"}}': '{"path": "https://h.example/vip.csv?…", "x": "=?"}',
}


@pytest.mark.parametrize(("text", "shown"), SHOWN.items())
def test_a_text_shows_the_place_of_a_url_and_not_its_secret(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert str(ConfigError(text)) == shown


def test_a_long_text_takes_time_in_proportion() -> None:
    for part in ("://", "http://", "http://x@", "?=", "a"):
        long, short = (seconds(without_secrets, part * times + "?sig=x", 3) for times in (400_000, 40_000))
        assert long < 40 * short


def test_no_command_shows_the_signature_of_a_snapshots_url_or_stores_it(world: World) -> None:
    paths = (f"http://127.0.0.1:9/vip.csv?{SIGNED}", "az://c/vip.csv?sv=1&sig=c4n4ry", f"s3://b/vip-*.csv?{SIGNED}")
    for number, path in enumerate(paths):
        snapshot = {"path": path, "format": "csv"}
        world.document["audiences"].append({"name": f"Signed {number}", "snapshot": snapshot})
    world.document["events"] = {"archive": f"http://127.0.0.1:9/segment-logs/?{SIGNED}"}
    world.snapshot(["ana"])
    for words in (
        ["check"],
        ["check", "--json"],
        ["sync", "--all", "--json"],
        ["forward"],
        ["runs", "--json"],
        ["audit"],
    ):
        _, said = run(world, *words)
        assert "c4n4ry" not in said.lower(), words
    world.reopen()
    kept = dump(world.folder / ".windsor" / "state.db")
    assert "c4n4ry" not in kept
    assert "AKIDCANARY" not in kept


KEYS = {
    "WINDSOR_API_KEY": "a-real-key",
    "SEGMENT_PUBLIC_API_TOKEN": "a-real-token",
    "WINDSOR_SUPPRESSION_KEY": "x" * 32,
}


def test_the_stand_in_of_the_demo_and_of_make_up_never_gets_the_real_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with play._windsor(tmp_path) as windsor:
        process = Path(f"/proc/{windsor.process.pid}")
        given = (process / "environ").read_text() + (process / "cmdline").read_text()
    assert [name for name, value in KEYS.items() if value in given] == []
    assert not set(KEYS.values()) & set(environment(tmp_path, [1, 2, 3]).values())


def test_the_key_of_a_stand_in_can_be_given_without_an_argument(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "windsor_sync.cli", "sandbox", "--port", "0"]
    env = {**os.environ, "WINDSOR_SANDBOX_KEY": "its-own-key"}
    with subprocess.Popen(command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as sandbox:
        try:
            assert sandbox.stdout is not None
            url = sandbox.stdout.readline().split()[2]
            message = '{"type": "identify", "userId": "ana", "traits": {}}'
            statuses = [
                httpx.post(
                    url, content=message, auth=(key, ""), headers={"Content-Type": "application/json"}
                ).status_code
                for key in ("its-own-key", "sandbox")
            ]
        finally:
            sandbox.kill()
    assert statuses == [200, 401]
