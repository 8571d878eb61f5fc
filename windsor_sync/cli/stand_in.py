"""`sandbox` and `demo`: a Windsor on this machine."""

from pathlib import Path

import click

from windsor_sync.cli.output import echo


@click.command(short_help="Run a local Windsor to try things out.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8474, show_default=True, help="Its port; 0: any free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen elsewhere only if you must.")
@click.option(
    "--key",
    "api_key",
    default="sandbox",
    envvar="WINDSOR_SANDBOX_KEY",
    show_default=True,
    show_envvar=True,
    help="The API key it accepts.",
)
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), help="Keep users and events in this file.")
@click.option(
    "--merge",
    type=click.Choice(["keeps-new", "keeps-old", "keeps-neither"]),
    default="keeps-new",
    show_default=True,
    help="Which value a merged user has where both users had the property: the surviving user's, the merged-away user's, or "
    "none.",
)
@click.option(
    "--identify-merges",
    type=click.Choice(["yes", "no"]),
    default="no",
    show_default=True,
    help="Whether an identify with a user id and an anonymous id makes one user of the two.",
)
def sandbox_command(port: int, host: str, api_key: str, state: Path | None, merge: str, identify_merges: str) -> None:
    """Run a local Windsor: it takes the six calls, shows users with their properties, and the feed.

    Windsor does not publish what it does when two users become one: choose it with --merge and --identify-merges.

    \b
    Example:
      windsor-sync sandbox
      windsor-sync sandbox --port 9000 --state windsor.db
      windsor-sync sandbox --merge keeps-old --identify-merges yes
    """
    from windsor_sync.sandbox import serve
    from windsor_sync.sandbox.store import Merge, Store

    serve(
        host,
        port,
        api_key=api_key,
        state_file=state,
        store=Store(merge=Merge(merge), identify_merges=identify_merges == "yes"),
        announce=lambda url: echo(f"Windsor sandbox: {url}   (Ctrl-C ends it)"),
    )


@click.command(short_help="See it work: real purchases, the Airflow DAG, a local Windsor.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="Where the demo keeps its files; made anew each time.",
)
@click.option("--days", default=4, show_default=True, type=click.IntRange(2, 30), help="Successive days to play.")
@click.option("--serve/--no-serve", "stays", default=None, help="Keep Windsor up afterwards (default: on a terminal).")
def demo_command(folder: Path, days: int, stays: bool | None) -> None:
    """Play several days of a shop: snapshots are written, the Airflow DAG syncs them, Windsor shows the users.

    \b
    Example:
      windsor-sync demo
      windsor-sync demo --days 7 --no-serve
    """
    import sys

    from windsor_sync.demo.play import play

    play(folder, days, stays=sys.stdin.isatty() if stays is None else stays, say=echo)
