"""A folder with a `windsor.yaml`, and ways to load it or to read what is wrong with it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from windsor_sync.settings import InvalidSettings, Settings, load

URL = "destination: {url: http://127.0.0.1:8474/}\n"


class Folder:
    """Where the file under test is written and read."""

    def __init__(self, path: Path) -> None:
        self.file = path / "windsor.yaml"

    def load(self, text: str | bytes, env: Mapping[str, str] | None = None) -> Settings:
        """Return the settings that the text makes."""
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return load(self.file, env or {})

    def refusal(self, text: str | bytes, env: Mapping[str, str] | None = None) -> str:
        """Return the whole error that the text makes."""
        with pytest.raises(InvalidSettings) as refused:
            self.load(text, env)
        return str(refused.value)

    def mistakes(self, text: str | bytes, env: Mapping[str, str] | None = None) -> list[str]:
        """Return the list of mistakes that the text makes."""
        return [line.strip() for line in self.refusal(text, env).splitlines()[1:]]
