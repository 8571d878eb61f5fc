"""The fields of forms that people fill in: titles, help and bounds, the same on the page and in Airflow."""

from typing import NamedTuple

LARGEST = 10**12
"""What a person may name as a number of users: beyond any audience, and within what every database holds."""

MODES = {"changes": "Changes only", "resync": "Resync: everyone again"}
SIDES = {"": "Both", "entered": "Entries only", "exited": "Exits only"}


class FieldText(NamedTuple):
    """The words of one field."""

    title: str
    help: str = ""


BACKFILL = {
    "audiences": FieldText("Audiences and computed traits"),
    "mode": FieldText(
        "Mode",
        "Changes only: what Windsor has not been told. Resync: true to every member again, and false to everyone who was told "
        "true once and is not one.",
    ),
    "only": FieldText("Sides", "A side that is left out stays owed, and the next sync sends it."),
    "limit": FieldText(
        "At most",
        "So many changes of each audience. The next sync sends all the others, without asking: a limit only tries out.",
    ),
    "as_of": FieldText(
        "As of",
        "Use the snapshot that was the newest then; empty: the newest there is. The next sync goes back to the newest.",
    ),
    "reason": FieldText("Reason", "For the record."),
    "dry_run": FieldText("Only show the plan", "Nobody is asked and nothing is sent."),
}
