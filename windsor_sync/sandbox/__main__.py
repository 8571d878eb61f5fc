"""`python -m windsor_sync.sandbox`: the sandbox as a process of its own."""

import argparse
import sys
from pathlib import Path
from urllib.parse import urlsplit

from windsor_sync.errors import WindsorSyncError
from windsor_sync.sandbox.faults import Faults
from windsor_sync.sandbox.receiver import DEFAULT_API_KEY
from windsor_sync.sandbox.running import DEFAULT_PORT, serve
from windsor_sync.sandbox.store import Merge, Store


def run_sandbox() -> int:
    """Serve until a signal comes; return the exit status."""
    given = _parser().parse_args()

    def announce(url: str) -> None:
        if given.port_file is not None:
            _write_whole(given.port_file, str(urlsplit(url).port))
        key = f", key: {DEFAULT_API_KEY}" if given.api_key == DEFAULT_API_KEY else ""
        print(f"Windsor sandbox: {url}{key}", flush=True)

    try:
        serve(
            given.host,
            given.port,
            api_key=given.api_key,
            state_file=given.state,
            faults=Faults.parse(given.faults),
            names=given.name,
            store=Store(merge=Merge(given.merge), identify_merges=given.identify_merges == "yes"),
            announce=announce,
            or_another_port=given.or_another_port,
        )
    except WindsorSyncError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m windsor_sync.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="listen there; beyond 127.0.0.1 others can read every user")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--or-another-port", action="store_true", help="take a free port where that one is taken")
    parser.add_argument("--port-file", type=Path, help="write the port there as soon as requests are answered")
    parser.add_argument("--name", action="append", default=[], help="answer to this host name too; may be repeated")
    parser.add_argument("--api-key", default=DEFAULT_API_KEY, help="the key to ask for (default: %(default)s)")
    parser.add_argument("--state", type=Path, help="keep what was received in this file")
    parser.add_argument("--faults", default="{}", help="""what goes wrong, as JSON: '{"busy_rate": 0.1}'""")
    parser.add_argument("--merge", choices=list(Merge), default=Merge.KEEPS_NEW, help="whose value a merged user has")
    parser.add_argument(
        "--identify-merges", choices=["yes", "no"], default="no", help="whether an identify merges its ids"
    )
    return parser


def _write_whole(path: Path, text: str) -> None:
    """Write a file that nobody can find half-written."""
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_text(text)
    unfinished.replace(path)


if __name__ == "__main__":
    sys.exit(run_sandbox())
