"""The `segment:` section: where Segment's Public API is, without its token."""

import pytest
from settings_folder import URL, Folder

from windsor_sync.settings import SnapshotFormat

CANARY = "hunter2canary"


def test_segment_is_not_asked_without_the_section(folder: Folder) -> None:
    assert folder.load(URL).segment is None
    assert folder.load(f"{URL}segment:\n").segment is None


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ("{}", "https://api.segmentapis.com"),
        ("{region: eu}", "https://eu1.api.segmentapis.com"),
        ("{region: eu, url: 'http://127.0.0.1:9/'}", "http://127.0.0.1:9/"),
    ],
)
def test_the_region_says_where_the_api_is_unless_the_url_does(folder: Folder, said: str, url: str) -> None:
    segment = folder.load(f"{URL}space: spa_1\nsegment: {said}\n").segment
    assert segment is not None
    assert (segment.url, segment.connection, segment.size_tolerance_percent) == (url, "segment_default", 5)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{region: asia}", "expected us or eu"),
        ("{url: 'http://api.segmentapis.com'}", "http to a host that is not this machine"),
        (f"{{url: 'https://{CANARY}@api.segmentapis.com'}}", "a URL with credentials in it (not shown)"),
        (f"{{token: {CANARY}}}", "into the variable SEGMENT_PUBLIC_API_TOKEN"),
        (f"{{api_key: {CANARY}}}", "into the variable SEGMENT_PUBLIC_API_TOKEN"),
        ("{size_tolerance_percent: 101}", "a number from 0 to 100"),
    ],
)
def test_a_mistake_in_the_section_is_named_and_no_token_repeated(folder: Folder, said: str, words: str) -> None:
    (mistake,) = folder.mistakes(f"{URL}space: spa_1\nsegment: {said}\n")
    assert words in mistake
    assert CANARY not in mistake


def test_a_section_without_a_space_is_a_mistake(folder: Folder) -> None:
    assert "expected `space`" in folder.mistakes(f"{URL}segment: {{region: us}}\n")[0]


def test_one_audience_may_have_a_tolerance_of_its_own(folder: Folder) -> None:
    item = "{name: A, snapshot: {path: a.csv, size_tolerance_percent: 40}}"
    (audience,) = folder.load(f"{URL}audiences: [{item}]\n").audiences
    assert (audience.snapshot.size_tolerance_percent, audience.snapshot.format) == (40, SnapshotFormat.ENGAGE_CSV)
