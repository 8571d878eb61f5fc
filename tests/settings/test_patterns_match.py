"""What a pattern of `snapshot.path` takes: as fsspec has it, in a time that no name can stretch."""

import re
import time

from fsspec.utils import glob_translate
from hypothesis import given
from hypothesis import strategies as st

from windsor_sync.settings.patterns import is_match

PARTS = st.sampled_from(["**", "*", "a*", "*b", "?", "[ab]*", "[!a]", "a", "", "a*b*", "[", ".*"])
NAMES = st.text("ab.-[", min_size=1, max_size=4)


@given(st.lists(PARTS, min_size=1, max_size=5).map("/".join), st.lists(NAMES, min_size=1, max_size=5).map("/".join))
def test_a_pattern_takes_what_it_takes_for_fsspec(pattern: str, path: str) -> None:
    assert is_match(path, pattern) == bool(re.match(glob_translate(pattern), path))


def test_many_stars_take_no_longer() -> None:
    began = time.thread_time()
    assert not is_match("a" * 255, "*a" * 30 + "b")
    assert not is_match("/".join("a" * 500), "**/a/" * 30 + "b")
    assert time.thread_time() - began < 1
