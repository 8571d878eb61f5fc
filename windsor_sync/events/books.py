"""The steps of Segment's Delivery Overview, for a run that forwarded events."""

from collections.abc import Sequence

from windsor_sync.domain.run import ForwardingRun


def overview(run: ForwardingRun) -> dict[str, int]:
    """Return how many messages ended in each step; all but `received` add up to `received` and `carried`.

    `carried` came from earlier runs that could not deliver them. `held` are alias messages that wait for a person, and
    messages of users who were suppressed meanwhile.
    """
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


def overview_of(runs: Sequence[ForwardingRun]) -> dict[str, int]:
    """Return the overview of one forwarding's runs, in order: an alias that one run hands on to the next counts once."""
    each = [overview(run) for run in runs]
    total = {step: sum(one[step] for one in each) for step in each[0]}
    handed_on = sum(one["carried"] for one in each[1:])  # held ones: after a run that owes more, no other begins
    return total | {"carried": total["carried"] - handed_on, "held": total["held"] - handed_on}
