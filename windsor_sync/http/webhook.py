"""Posts one JSON document to a webhook, once, without following a redirect; the address is never repeated."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from windsor_sync.http.client import FAILURES, Client

TIMEOUT_S = 5.0


class WebhookError(Exception):
    """The document may not have arrived; the text names the host and no more of the address."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address, which may be a secret as a whole."""

    url: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)

    def post(self, document: Mapping[str, object], key: str) -> None:
        """Send a document under a key by which the receiver knows it again; raises WebhookError unless the answer is 2xx."""
        asyncio.run(self._post(document, key))

    async def _post(self, document: Mapping[str, object], key: str) -> None:
        url = httpx.URL(self.url)
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            **({"Authorization": self.authorization} if self.authorization else {}),
        }
        request = httpx.Request("POST", url, headers=headers, content=json.dumps(document).encode())
        client = Client(connections=1, timeout_s=TIMEOUT_S)
        try:
            answer = await client.receive(request, within_s=TIMEOUT_S)
        except FAILURES as error:
            raise WebhookError(f"the webhook at {url.host} did not answer ({type(error).__name__})") from None
        finally:
            client.close()
        if not 200 <= answer.status < 300:
            raise WebhookError(f"the webhook at {url.host} answered {answer.status}")
