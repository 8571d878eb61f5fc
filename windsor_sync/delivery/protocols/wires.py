"""The wires by their names in windsor.yaml."""

from collections.abc import Mapping

from windsor_sync.delivery.protocols.segment_webhook import WebhookWire
from windsor_sync.delivery.protocols.windsor_hook import HookWire
from windsor_sync.settings import WireName

WIRES: Mapping[WireName, type[WebhookWire] | type[HookWire]] = {
    WireName.SEGMENT_WEBHOOK: WebhookWire,
    WireName.WINDSOR_HOOK: HookWire,
}
