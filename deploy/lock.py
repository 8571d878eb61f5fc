"""`python -m deploy.lock`: writes locks/, the versions and hashes that `make` and the image install, from constraints.txt.

Hashes come from the package index; its name is not written down. pip, setuptools and what builds this package are of the newest
version there.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "locks"
LEAST_PYTHON = "3.11.5"
BUILD = ("pip", "setuptools", "hatchling", "editables")
"""Installed beside what is asked for, so that nothing is fetched to build this package."""

KINDS: dict[str, tuple[str, ...]] = {
    "dev": ("--extra=celery", "--group=dev"),
    "image": ("--extra=celery", "--extra=postgres", "--extra=s3"),
    "spark": ("--extra=spark",),
    "bench": ("--group=bench",),
    "mutation": ("--group=mutation",),
}
"""File → what it is for. Those after `image` hold what comes on top of `dev`."""

BESIDE_DEV = ("spark", "bench", "mutation")


def blocks(text: str) -> dict[str, str]:
    """Return the lines of each requirement, by what stands in front of its hashes."""
    found: dict[str, str] = {}
    for line in text.splitlines(keepends=True):
        if not line.startswith(" "):
            name = line.removesuffix("\n").removesuffix(" \\")
            found[name] = ""
        found[name] += line
    return found


def compiled(wanted: tuple[str, ...]) -> dict[str, str]:
    """Ask uv for all requirements of an installation, on every Python that is supported."""
    with tempfile.TemporaryDirectory() as folder:
        build = Path(folder) / "build.in"
        build.write_text("\n".join(BUILD), encoding="utf-8")
        options = [
            "--universal",
            f"--python-version={LEAST_PYTHON}",
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
        ]
        command = ["-m", "uv", "pip", "compile", "--quiet", *options, "--constraints=constraints.txt", *wanted]
        done = subprocess.run(  # noqa: S603
            [sys.executable, *command, "pyproject.toml", str(build)],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return blocks(done.stdout)


def _is_in(others: dict[str, str], name: str) -> bool:
    """Whether others have it, for the same kinds of machine or for all."""
    return name in others or name.partition(" ;")[0] in others


def main() -> int:
    """Write every file; what `dev` has is in no file that is installed on top of it."""
    LOCKS.mkdir(exist_ok=True)
    of_dev: dict[str, str] = {}
    for kind, wanted in KINDS.items():
        found = compiled(wanted)
        if kind == "dev":
            of_dev = found
        left = {name: text for name, text in found.items() if kind not in BESIDE_DEV or not _is_in(of_dev, name)}
        (LOCKS / f"{kind}.txt").write_text("".join(left.values()), encoding="utf-8")
        print(f"locks/{kind}.txt: {len(left)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
