"""Charts as shapes: positions are computed here, a template draws them as SVG without style or script."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, floor, log10

from windsor_sync.domain.labels import counted, moment, short
from windsor_sync.domain.run import ForwardingRun, Run

WIDTH, HEIGHT = 400.0, 180.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 8.0, 12.0, 24.0

Number = Callable[[Run], int]


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a chart."""

    x: float
    y: float
    width: float
    height: float
    series: str
    """its colour, by class"""
    title: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One point of a line, with the stripe in which the pointer finds it."""

    x: float
    y: float
    stripe_x: float
    stripe_width: float
    title: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A horizontal line with its number."""

    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The numbers and texts that the chart template draws."""

    title: str
    unit: str
    ticks: tuple[Tick, ...]
    first: str
    """label at the left end"""
    last: str
    zero: float
    legend: tuple[tuple[str, str], ...]
    """series → what it shows"""
    bars: tuple[Bar, ...] = ()
    dots: tuple[Dot, ...] = ()
    nothing: str = "There was no run in this time."
    """what stands in place of an empty chart"""

    @property
    def line(self) -> str:
        """Return the `points` of the SVG polyline through the dots."""
        return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in self.dots)

    @property
    def area(self) -> str:
        """Return the `points` of the SVG polygon between the line and zero; empty without dots."""
        if not self.dots:
            return ""
        return f"{self.dots[0].x:.1f},{self.zero:.1f} {self.line} {self.dots[-1].x:.1f},{self.zero:.1f}"


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    def ticks(self) -> tuple[Tick, ...]:
        values = [self.low, 0.0, self.high] if self.low < 0 else [0.0, self.high / 2, self.high]
        return tuple(Tick(self.y(value), short(abs(value))) for value in values if value == int(value))


def size_over_time(runs: Sequence[Run]) -> Chart:
    """Return how many members the audience had at each run, by the time of its snapshot."""
    scale = _Scale(0.0, _ceiling(max((run.books.members for run in runs), default=0)))
    stripe = _stripe(len(runs))
    dots = tuple(
        Dot(
            x=LEFT + (index + 0.5) * stripe,
            y=scale.y(run.books.members),
            stripe_x=LEFT + index * stripe,
            stripe_width=stripe,
            title=f"{moment(run.started_at)}: {counted(run.books.members, 'member')}",
        )
        for index, run in enumerate(runs)
    )
    return _chart("Size", "members", scale, runs, (("size", "members"),), dots=dots)


def entered_and_exited(runs: Sequence[Run]) -> Chart:
    """Return how many users entered (up) and exited (down) at each run."""
    runs, unit = _without_the_first(runs, "users a run")
    highest = _ceiling(max((run.books.since_last.entered for run in runs), default=0))
    lowest = max((run.books.since_last.exited for run in runs), default=0)
    scale = _Scale(-_ceiling(lowest) if lowest else 0.0, highest)
    bars = []
    for index, since in enumerate(run.books.since_last for run in runs):
        came, went = f"{counted(since.entered, 'user')} entered", f"{counted(since.exited, 'user')} exited"
        bars.append(_bar(scale, runs, index, 0, since.entered, "entered", came))
        bars.append(_bar(scale, runs, index, -since.exited, 0, "exited", went))
    legend = (("entered", "users entered"), ("exited", "users exited"))
    return _chart("Entered and exited", unit, scale, runs, legend, bars=_visible(bars))


def deliveries(runs: Sequence[Run], what: str = "change") -> Chart:
    """Return the stacked outcomes of each run's changes or messages."""
    runs, unit = _without_the_first(runs, f"{what}s a run")
    series: tuple[tuple[str, str, Number], ...] = (
        ("delivered", "delivered", lambda run: run.books.delivered),
        ("rejected", "rejected", lambda run: run.books.rejected),
        (
            "waiting",
            "withheld or owed" if what == "change" else "held or owed",
            lambda run: run.books.withheld + run.books.owed,
        ),
    )
    tallest = max((sum(number(run) for _, _, number in series) for run in runs), default=0)
    scale = _Scale(0.0, _ceiling(tallest))
    bars = []
    for index, run in enumerate(runs):
        below = 0
        for name, words, number in series:
            above = below + number(run)
            bars.append(_bar(scale, runs, index, below, above, name, f"{counted(number(run), what)} {words}"))
            below = above
    legend = tuple((name, words) for name, words, _ in series)
    return _chart("Deliveries and rejections", unit, scale, runs, legend, bars=_visible(bars))


def _without_the_first(runs: Sequence[Run], unit: str) -> tuple[Sequence[Run], str]:
    """An initial sync enters everybody: beside it no other run could be seen. Left out, and said, when there are others."""
    if len(runs) < 2 or runs[0].number != 1 or isinstance(runs[0], ForwardingRun):
        return runs, unit
    return runs[1:], f"{unit}, without the initial sync"


def _chart(
    title: str,
    unit: str,
    scale: _Scale,
    runs: Sequence[Run],
    legend: tuple[tuple[str, str], ...],
    *,
    bars: tuple[Bar, ...] = (),
    dots: tuple[Dot, ...] = (),
) -> Chart:
    return Chart(
        title=title,
        unit=unit,
        ticks=scale.ticks(),
        first=_label(runs, 0) if runs else "",
        last=_label(runs, -1) if runs else "",
        zero=scale.y(0),
        legend=legend,
        bars=bars,
        dots=dots,
        nothing="Nothing to show in this time." if runs else "There was no run in this time.",
    )


def _label(runs: Sequence[Run], place: int) -> str:
    """Return an end of the time axis: a day, or a moment where the days would be the same."""
    is_short = runs[-1].started_at - runs[0].started_at < timedelta(days=2)
    when = runs[place].started_at
    return moment(when) if is_short else f"{when:%Y-%m-%d}"


def _bar(scale: _Scale, runs: Sequence[Run], index: int, low: float, high: float, series: str, said: str) -> Bar:
    stripe = _stripe(len(runs))
    width = min(stripe * 0.7, 28.0)
    top = scale.y(high)
    return Bar(
        x=LEFT + index * stripe + (stripe - width) / 2,
        y=top,
        width=width,
        height=scale.y(low) - top,
        series=series,
        title=f"{moment(runs[index].started_at)}: {said}",
    )


def _visible(bars: Sequence[Bar]) -> tuple[Bar, ...]:
    return tuple(bar for bar in bars if bar.height > 0)


def _stripe(number: int) -> float:
    return (WIDTH - LEFT - RIGHT) / max(number, 1)


def _ceiling(value: float) -> float:
    """The next round number: 1, 2 or 5 times a power of ten, at least 2 so that half of it is a whole one."""
    if value <= 2:
        return 2.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if ceil(value) <= step * power)
