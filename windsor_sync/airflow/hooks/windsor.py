"""The connection type `windsor`: its test button, and calls of your own. What is synced is sent by the use cases."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseHook

if TYPE_CHECKING:
    import httpx

    from windsor_sync.settings import Destination


class WindsorHook(BaseHook):
    """Windsor, as an Airflow connection describes it."""

    conn_name_attr = "windsor_conn_id"
    default_conn_name = "windsor_default"
    conn_type = "windsor"
    hook_name = "Windsor"

    def __init__(self, windsor_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.windsor_conn_id = windsor_conn_id

    def get_conn(self) -> "httpx.Client":
        """Return an HTTP client with Windsor's address and key; close it after use.

        Raises ConfigError when the connection is missing or has no key.
        """
        import httpx
        from airflow.sdk.log import mask_secret

        from windsor_sync.http.opening import tls_of
        from windsor_sync.settings import WireName

        destination, key = self._found()
        tls = tls_of(destination)
        options: dict[str, Any] = {"timeout": destination.timeout_s, "verify": True if tls is None else tls}
        if destination.wire is WireName.WINDSOR_HOOK:  # its token stands in the address, which httpx logs
            token = quote(key, safe="")
            mask_secret(token)
            return httpx.Client(base_url=f"{destination.url.rstrip('/')}/{token}", **options)
        return httpx.Client(base_url=destination.url, auth=(key, ""), **options)

    def send(self, call: Mapping[str, Any]) -> None:
        """Send one call in Segment's spelling, such as `{"type": "identify", "userId": "00123", "traits": {"plan": "pro"}}`.

        It gets a `messageId` and a `timestamp` where it has none, and passes no ledger: do not send the traits of audiences
        that are synced. Raises ConfigError for a call that Segment would refuse, CredentialsRefused, DestinationUnavailable,
        which may be tried again with the same `messageId`, and MessagesRejected.
        """
        from windsor_sync.delivery.single_call import send_one

        send_one(*self._found(), call)

    def test_connection(self) -> tuple[bool, str]:
        """Say whether Windsor is there and takes the key; leaves no trace in Windsor."""
        from windsor_sync.delivery.probe import probe
        from windsor_sync.errors import WindsorSyncError

        try:
            found = probe(*self._found())
        except WindsorSyncError as error:
            return False, str(error)
        return found.is_good, found.text

    def _found(self) -> "tuple[Destination, str]":
        from windsor_sync.airflow.connection import connection_of, destination_of, key_of

        connection = connection_of(self.windsor_conn_id)
        return destination_of(connection), key_of(connection)
