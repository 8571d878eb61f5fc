"""`make bench` names a ratio that became worse than the stored one."""

import pytest

from benchmarks.frame import Goal, Row, regressions


@pytest.mark.parametrize(
    ("row", "is_named"),
    [
        (Row("seal", "sealed", "bare", 2.5), True),
        (Row("seal", "sealed", "bare", 2.3), False),
        (Row("seal", "sealed", "bare", 1.0), False),
        (Row("diff", "changed, times faster", "pandas", 1.5), True),
        (Row("diff", "changed, times faster", "pandas", 2.5), False),
        (Row("delivery", "engine", "wrk", 1.5, goal=Goal(at_least=1)), True),
        (Row("seal", "memory", "bare", 900, "MB"), False),
    ],
)
def test_a_ratio_more_than_a_fifth_worse_than_the_stored_one_is_named(row: Row, *, is_named: bool) -> None:
    assert bool(regressions([row], {row.name: 2.0})) == is_named
    assert regressions([row], {}) == []
