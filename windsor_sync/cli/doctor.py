"""Everything `check` looks at, in the order in which a sync would fail."""

from collections.abc import Iterator

from windsor_sync.checkup import Finding, Level, examine, examine_settings
from windsor_sync.checkup_destination import examine_destination
from windsor_sync.cli.airflow_look import examine_airflow, key_in_airflow
from windsor_sync.settings import Settings
from windsor_sync.workspace import key_from_environment, open_workspace


def findings_about(settings: Settings) -> Iterator[Finding]:
    """Look on after an error: a person mends everything in one go."""
    is_usable = True
    for finding in examine_settings(settings):
        is_usable = is_usable and finding.level is not Level.ERROR
        yield finding
    yield from examine_airflow(settings)
    yield from examine_destination(settings.destination, lambda: key_in_airflow(settings) or key_from_environment())
    if is_usable:
        with open_workspace(settings) as workspace:
            yield from examine(workspace)
