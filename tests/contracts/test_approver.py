"""Who approves is always somebody, also where the system has no name for them."""

import os

import pytest

from windsor_sync.state.audit_log import this_person


def test_in_a_container_without_a_name_for_its_user_an_approval_is_by_somebody_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert this_person() == "unknown"
    monkeypatch.setenv("USER", "ana")
    assert this_person() == "ana"
