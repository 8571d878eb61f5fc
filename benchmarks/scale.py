"""What 50 audiences of 100 million members come to, by simulation: `python -m benchmarks.scale`.

A model, not a measurement: one audience stands for all of them, one member for many. At every sync a part of the users
changes sides, the changes owed are those between what was told and what is true, and the destination takes as many as
fit into the interval, no matter which. Who changes sides twice before being told is owed nothing.
"""

from dataclasses import dataclass

import numpy as np

AUDIENCES = 50
MEMBERS = 100_000_000
STANDS_FOR = 500
INTERVAL_S = 9_000
DAYS = 90
BILLION = 1_000_000_000
CHURN_PERCENT = (0.02, 0.1, 1.0)
REQUESTS_PER_SECOND = (500, 2_000, 8_000, 32_000)
OUTBOX_BYTES = 36
"""of a row, measured: ids of 32 hexadecimal characters and an e-mail"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a destination of this pace comes to."""

    churn_percent: float
    requests_per_second: int
    billion_days: float
    """to deliver 1 G changes"""
    owed: float
    """changes, at the end"""
    sent_a_day: float
    outbox_bytes: float
    """kept for 90 days; what is owed is in every outbox again"""

    @property
    def keeps_up(self) -> bool:
        """Whether nothing is owed when the next sync begins."""
        return self.owed == 0


def simulate(churn_percent: float, requests_per_second: int) -> Outcome:
    """90 days after an initial sync that was delivered."""
    chance = np.random.default_rng(7)
    count = MEMBERS // STANDS_FOR
    fits = int(requests_per_second * INTERVAL_S / AUDIENCES / STANDS_FOR)
    told = np.ones(count, dtype=bool)
    true = told.copy()
    sent = written = 0
    for _ in range(DAYS * 86_400 // INTERVAL_S):
        true ^= chance.random(count) < churn_percent / 100
        owed = np.flatnonzero(told != true)
        written += len(owed)
        chance.shuffle(owed)
        told[owed[:fits]] = true[owed[:fits]]
        sent += min(fits, len(owed))
    scale = STANDS_FOR * AUDIENCES
    return Outcome(
        churn_percent,
        requests_per_second,
        BILLION / requests_per_second / 86_400,
        int((told != true).sum()) * scale,
        sent * scale / DAYS,
        float(written) * scale * OUTBOX_BYTES,
    )


def main() -> None:
    """Print the table."""
    print("| change sides at each sync | requests/s | 1 G changes take | sent a day | owed after 90 days | outboxes |")
    print("|---|---|---|---|---|---|")
    for churn_percent in CHURN_PERCENT:
        for requests_per_second in REQUESTS_PER_SECOND:
            it = simulate(churn_percent, requests_per_second)
            owed = "none" if it.keeps_up else f"{it.owed / 1e6:,.0f} M ({it.owed / MEMBERS / AUDIENCES:.0%} of members)"
            print(
                f"| {churn_percent:g} % | {requests_per_second:,} | {it.billion_days:.1f} days | "
                f"{it.sent_a_day / 1e6:,.0f} M | {owed} | {it.outbox_bytes / 1e12:.2f} TB |"
            )


if __name__ == "__main__":
    main()
