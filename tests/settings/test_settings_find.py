"""Audiences and computed traits are picked by the words people use for them."""

import pytest
from settings_folder import URL, Folder

from windsor_sync.errors import ConfigError
from windsor_sync.settings import Settings

TEXT = (
    URL
    + """\
audiences:
  - {name: Order Completed Last 30days, snapshot: {path: a.csv}}
  - {name: VIP, trait: gold, enabled: false, snapshot: {path: b.csv}}
  - {name: Twin, trait: twin, snapshot: {path: c.csv}}
  - {name: Other Twin, trait: TWIN, snapshot: {path: d.csv}}
computed_traits:
  - {name: Total Revenue 180 Days, snapshot: {path: e.csv}}
"""
)


@pytest.fixture
def settings(folder: Folder) -> Settings:
    return folder.load(TEXT)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["order_completed_last_30days"], ["order_completed_last_30days"]),
        (["Order Completed Last 30days"], ["order_completed_last_30days"]),
        (["ORDER COMPLETED LAST 30DAYS "], ["order_completed_last_30days"]),
        (["vip"], ["gold"]),
        (["Gold"], ["gold"]),
        (["total_revenue_180_days", "VIP", "gold"], ["gold", "total_revenue_180_days"]),
        (["twin"], ["twin"]),
        (["TWIN"], ["TWIN"]),
        (["Twin"], ["twin", "TWIN"]),
        ([], []),
    ],
)
def test_a_computation_is_found_by_key_or_name_in_any_case(
    settings: Settings, words: list[str], keys: list[str]
) -> None:
    assert [computation.key for computation in settings.find(words)] == keys


def test_every_unknown_word_is_named_with_what_is_near_it(settings: Settings) -> None:
    with pytest.raises(ConfigError) as refused:
        settings.find(["vip", "total_revenu", "zzz"])
    text = str(refused.value)
    assert "called 'total_revenu'; near it: total_revenue_180_days, Total Revenue 180 Days" in text
    assert "called 'zzz'. Nothing was done." in text
    assert "'vip'" not in text
    assert text.endswith("The trait keys are: order_completed_last_30days, gold, twin, TWIN, total_revenue_180_days.")
