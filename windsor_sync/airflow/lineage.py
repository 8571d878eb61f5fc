"""OpenLineage, for who has its provider: the source file → the audience in Segment's words → the trait in Windsor."""

from typing import TYPE_CHECKING, Any

from windsor_sync.errors import without_secrets
from windsor_sync.settings.patterns import shown_pattern

if TYPE_CHECKING:
    from windsor_sync.settings import Computation


def sealing(computation: "Computation", rows: int) -> Any:
    """A snapshot was read from its source."""
    from airflow.providers.openlineage.extractors import OperatorLineage

    path = computation.snapshot.path
    inputs = [_file(shown_pattern(path))] if path else []
    return OperatorLineage(inputs=inputs, outputs=[_counted("segment", f"audiences/{computation.key}", rows)])


def delivery(audience: str, destination: str, delivered: int) -> Any:
    """Windsor was told changes of an audience."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import Dataset

    told = _counted(f"windsor://{destination}", f"traits/{audience}", delivered)
    return OperatorLineage(inputs=[Dataset("segment", f"audiences/{audience}")], outputs=[told])


def forwarding(archive: str, destination: str, delivered: int) -> Any:
    """Windsor got messages of the event archive."""
    from airflow.providers.openlineage.extractors import OperatorLineage

    told = _counted(f"windsor://{destination}", "events", delivered)
    return OperatorLineage(inputs=[_file(archive)], outputs=[told])


def nothing() -> Any:
    """The task failed before there was anything to say."""
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage()


def _counted(namespace: str, name: str, rows: int) -> Any:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset

    count = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=rows)
    return OutputDataset(namespace, name, outputFacets={"outputStatistics": count})


def _file(path: str) -> Any:
    """A file or pattern by OpenLineage's naming: the store is the namespace. No key or signature of an address is in it."""
    from openlineage.client.event_v2 import InputDataset

    scheme, found, rest = without_secrets(path).removesuffix("?…").rpartition("://")
    if not found or scheme == "file":
        return InputDataset("file", rest)
    store, _, name = rest.partition("/")
    if not scheme.startswith(("abfs", "wasb")):  # there it names the container, and no user
        store = store.rpartition("@")[2]
    return InputDataset(f"{scheme}://{store}", name)
