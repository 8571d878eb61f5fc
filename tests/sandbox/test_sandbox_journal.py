"""What the sandbox could not write for want of room it keeps, and writes as soon as there is some."""

from pathlib import Path

import pytest

from windsor_sync.errors import WindsorSyncError
from windsor_sync.sandbox.journal import SandboxJournal

FULL = "PRAGMA max_page_count = 1"  # SQLite makes it the number of pages there are
ROOMY = "PRAGMA max_page_count = 100000"


def test_messages_that_found_no_room_on_disk_are_kept_and_written_in_order_later(tmp_path: Path) -> None:
    journal = SandboxJournal(tmp_path / "windsor.db")
    journal.note({"userId": "private-user", "traits": {"note": "x" * 100_000}}, 1.0)
    journal._connection.execute(FULL)
    with pytest.raises(WindsorSyncError, match="could not write 1 message") as refused:
        journal.flush()
    assert "It keeps them in memory and tries again every second. Make room" in str(refused.value)
    assert "private-user" not in str(refused.value)
    journal.note({"userId": "later"}, 2.0)
    assert list(journal.messages()) == []
    journal._connection.execute(ROOMY)
    journal.flush()
    assert [(message["userId"], moment) for message, moment in journal.messages()] == [
        ("private-user", 1.0),
        ("later", 2.0),
    ]
    journal.close()
