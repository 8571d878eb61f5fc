"""The steps of Segment's Delivery Overview, for a run that forwarded events."""

from windsor_sync.runs import Run


def overview(run: Run) -> dict[str, int]:
    """How many messages ended in each step; all but `received` add up to `received` and `carried`.

    `carried` came from earlier runs that could not deliver them. `held` are alias messages that wait for a person, and
    messages of users who were suppressed meanwhile.
    """
    assert run.intake is not None
    return {
        "received": run.intake["received"],
        "carried": run.intake["carried"],
        "failed_on_ingest": sum(run.intake["failed_on_ingest"].values()),
        "filtered_at_destination": sum(run.intake["filtered"].values()),
        "duplicates": run.intake["duplicates"],
        "held": run.books.withheld,
        "awaiting_retry": run.books.owed,
        "failed_delivery": run.books.rejected,
        "delivered": run.books.delivered,
    }
