"""docker-compose.yml, read so that its services can be started without containers.

Commands and environment stay as they are; what a container has for itself is translated: ports to free ones, all
interfaces to the loopback, folders of volumes and of the image to folders of this machine.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
IMAGE_FOLDER = "/opt/windsor_sync"
HOME = "/home/windsor"
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Service:
    """A service as it is started here."""

    name: str
    command: str
    environment: dict[str, str]
    health: str | None


def document() -> dict[str, Any]:
    """The file as it stands."""
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return loaded


def read_env(path: Path) -> dict[str, str]:
    """The variables of an .env file."""
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def interpolated(text: str, env: Mapping[str, str]) -> str:
    """Compose's `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$`; raises KeyError for a variable that is nowhere."""

    def value(match: re.Match[str]) -> str:
        if match["kind"] == "-":
            return env.get(match["name"]) or match["text"]
        return env[match["name"]]

    return VARIABLE.sub(value, text).replace("$$", "$")


def services(folder: Path, env: Mapping[str, str], ports: Mapping[int, int]) -> dict[str, Service]:
    """Every service with its volumes below `folder`, each port changed as given."""
    return {name: _service(name, described, folder, env, ports) for name, described in document()["services"].items()}


def _service(
    name: str, described: dict[str, Any], folder: Path, env: Mapping[str, str], ports: Mapping[int, int]
) -> Service:
    places = {HOME: str(folder / "homes" / name), IMAGE_FOLDER: str(ROOT)}
    for volume in described.get("volumes", ()):
        source, target = interpolated(volume, env).removesuffix(":ro").split(":")
        places[target] = str(folder / "volumes" / source) if source[0] not in "./" else str((ROOT / source).resolve())

    def here(value: Any) -> str:
        text = str(value).replace("0.0.0.0", "127.0.0.1")
        for port, ours in ports.items():
            text = re.sub(rf"(?<!\d){port}(?!\d)", str(ours), text)
        for place, own in places.items():
            text = re.sub(rf"(?<![\w/]){re.escape(place)}(?!\w)", own, text)
        return interpolated(text, env)

    command = " ".join(part for part in (described.get("entrypoint"), described.get("command")) if part)
    health = described.get("healthcheck", {}).get("test")
    environment = {key: here(value) for key, value in described.get("environment", {}).items()}
    return Service(name, here(command), environment, here(health) if health else None)
