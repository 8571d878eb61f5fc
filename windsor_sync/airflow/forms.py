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
        "Changes only: sends what Windsor has not been told. Resync: sends true again for every member, and false for every "
        "user who was true once and is not a member now.",
    ),
    "only": FieldText("Sides", "The next sync sends a side that is left out, unless the guard withholds it."),
    "limit": FieldText(
        "At most",
        "At most this many changes of each audience, to try it out. The next sync sends all the others, and asks only where the "
        "guard withholds them.",
    ),
    "as_of": FieldText(
        "As of",
        "The backfill uses the snapshot that was the newest at that time; without a time, the newest of all. The next sync uses "
        "the newest again.",
    ),
    "reason": FieldText("Reason", "For the record."),
    "dry_run": FieldText("Only show the plan", "Nobody is asked and nothing is sent."),
}
