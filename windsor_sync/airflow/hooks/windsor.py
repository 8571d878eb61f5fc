"""The connection type `windsor`: its test button. Sending is the use cases' business, not the hook's."""

from airflow.sdk import BaseHook


class WindsorHook(BaseHook):
    """Windsor, as an Airflow connection describes it."""

    conn_name_attr = "windsor_conn_id"
    default_conn_name = "windsor_default"
    conn_type = "windsor"
    hook_name = "Windsor"

    def __init__(self, windsor_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.windsor_conn_id = windsor_conn_id

    def test_connection(self) -> tuple[bool, str]:
        """Say whether Windsor is there and takes the key; leaves no trace in Windsor."""
        from windsor_sync.airflow.connection import connection_of, destination_of, key_of
        from windsor_sync.delivery.probe import probe
        from windsor_sync.errors import WindsorSyncError

        try:
            connection = connection_of(self.windsor_conn_id)
            found = probe(destination_of(connection), key_of(connection))
        except WindsorSyncError as error:
            return False, str(error)
        return found.is_good, found.text
