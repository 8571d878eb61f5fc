"""What a shard's progress says of each row, whatever its stretches are."""

from hypothesis import given
from hypothesis import strategies as st

from windsor_sync.domain.progress import ShardProgress, Stretch, joined

FIRST, LAST = 10, 60
ROWS = range(FIRST, LAST)


@st.composite
def progresses(draw: st.DrawFn) -> ShardProgress:
    """A shard somewhere on its way."""
    position = draw(st.integers(FIRST, LAST))
    bounds = sorted(draw(st.sets(st.integers(position, LAST), max_size=10)))
    kinds = [Stretch(first, last, draw(st.booleans())) for first, last in zip(bounds[::2], bounds[1::2], strict=False)]
    return ShardProgress(0, FIRST, LAST, position, draw(st.integers(position, LAST)), 0, joined(kinds))


@given(progresses())
def test_its_parts_say_the_same_of_every_row(shard: ShardProgress) -> None:
    parts = list(shard.parts())
    assert [seq for part in parts for seq in range(part.first, part.last)] == list(ROWS)
    for part in parts:
        for seq in range(part.first, part.last):
            assert (seq < part.position) == shard.has_answer(seq)
            assert (part.position <= seq < part.reach) == shard.is_in_doubt(seq)


@given(progresses(), st.integers(1, 9))
def test_every_row_without_an_answer_is_read_once_and_in_order(shard: ShardProgress, rows: int) -> None:
    read = [seq for start, end in shard.chunks(rows) for seq in range(start, end)]
    assert read == sorted(set(read))
    assert {seq for seq in ROWS if not shard.has_answer(seq)} <= set(read) <= set(ROWS)


@given(progresses())
def test_a_chunk_without_a_row_to_send_is_not_read(shard: ShardProgress) -> None:
    assert all(not all(map(shard.has_answer, range(start, end))) for start, end in shard.chunks(1))


@given(progresses(), st.dictionaries(st.sampled_from(ROWS), st.booleans(), max_size=8))
def test_rows_taken_back_have_no_answer_and_all_others_are_as_they_were(
    shard: ShardProgress, taken_back: dict[int, bool]
) -> None:
    after = shard.taken_back(taken_back)
    for seq in ROWS:
        if seq not in taken_back:
            assert (after.has_answer(seq), after.is_in_doubt(seq)) == (shard.has_answer(seq), shard.is_in_doubt(seq))
        else:
            assert not after.has_answer(seq)
            assert after.is_in_doubt(seq) >= taken_back[seq]
            assert after.is_in_doubt(seq) <= (taken_back[seq] or shard.is_in_doubt(seq))
