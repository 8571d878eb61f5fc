"""Alerts of the command line: what its runs find out is told at the end, and a sync that was due is told at the beginning."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from windsor_sync.cli.output import echo, print_json
from windsor_sync.errors import ConfigError

if TYPE_CHECKING:
    from windsor_sync.domain.run import Run
    from windsor_sync.errors import WindsorSyncError
    from windsor_sync.settings import Settings
    from windsor_sync.usecases.workspace import Workspace


class Watch:
    """Hears how runs ended; hears nothing where nobody is to be told."""

    def __init__(self, workspace: "Workspace") -> None:
        self._workspace = workspace
        self.is_on = bool(workspace.settings.alerts)

    def ran(self, run: "Run") -> None:
        """Record what a run says."""
        if self.is_on:
            from windsor_sync.usecases.alerts import after_run, harmlessly

            with harmlessly():
                after_run(self._workspace, run)

    def failed(self, audience: str, error: "WindsorSyncError") -> None:
        """Record what an error says that left no run behind."""
        if self.is_on:
            from windsor_sync.usecases.alerts import after_failure, harmlessly

            with harmlessly():
                after_failure(self._workspace, audience, error)

    def look_and_tell(self) -> None:
        """Look at all audiences, and tell everybody what they do not know."""
        if self.is_on:
            from windsor_sync.usecases.alert_targets import webhooks_from_here
            from windsor_sync.usecases.alerts import harmlessly, look_at_all, tell

            with harmlessly():
                look_at_all(self._workspace, is_due_looked_for=True)
                tell(self._workspace, webhooks_from_here(self._workspace.settings))


@contextmanager
def alerting(workspace: "Workspace") -> Iterator[Watch]:
    """Watch the runs of the block."""
    watch = Watch(workspace)
    watch.look_and_tell()
    try:
        yield watch
    finally:
        watch.look_and_tell()


def show_late(settings: "Settings", *, is_json: bool) -> int:
    """Print which syncs were due and did not run, and tell everybody; returns the exit status."""
    from windsor_sync.usecases.late import late_audiences
    from windsor_sync.usecases.workspace import open_workspace

    with open_workspace(settings) as workspace:
        late = late_audiences(workspace, datetime.now(UTC))
        Watch(workspace).look_and_tell()
    if is_json:
        print_json({"late": [{"audience": audience or None, "text": text} for audience, text in late.items()]})
    else:
        for text in late.values():
            echo(f"late: {text}")
        if not late:
            echo("Every sync that was due has run.")
    return ConfigError.exit_status if late else 0
