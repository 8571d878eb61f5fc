"""`report`: everything the page in Airflow shows, as a file."""

from pathlib import Path

import click

from windsor_sync.cli.options import load_settings
from windsor_sync.cli.output import echo
from windsor_sync.errors import ConfigError
from windsor_sync.private import open_over

DEFAULT_FILE = "windsor-report.html"


@click.command(short_help="Audiences, runs and events as one HTML file.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(DEFAULT_FILE),
    show_default=True,
    help="Where to write it; one that is there is replaced.",
)
@click.pass_obj
def report_command(config: Path | None, out: Path) -> None:
    """Write one HTML file with every audience's size, entries, exits, deliveries and rejections, run by run.

    It opens offline, and no user's id is in it.

    \b
    Example:
      windsor-sync report
      windsor-sync report --out reports/monday.html
    """
    from windsor_sync.cli.opening import open_for_command
    from windsor_sync.report.document import report as whole

    with open_for_command(load_settings(config)) as workspace:
        text = whole(workspace)
    try:
        with open_over(out) as file:
            file.write(text.encode(errors="replace"))
    except OSError as error:
        raise ConfigError(
            f"The report cannot be written to {out}: {error.strerror}. Nothing was changed. Name a file in a folder that is "
            "there with --out."
        ) from None
    echo(f"The report is in {out} ({len(text) / 1000:,.0f} kB). Open it in any browser; it needs no network.")
