"""Files and queries in OpenLineage's naming, so that they are one node with what other tools say of them."""

import pytest

from windsor_sync.airflow import lineage
from windsor_sync.settings import Audience, Snapshot


def test_what_lies_in_an_object_store_is_named_by_its_bucket_and_its_key() -> None:
    read = lineage.forwarding("s3://acme-logs/segment-logs/", "windsor", 3)
    assert [(one.namespace, one.name) for one in read.inputs] == [("s3://acme-logs", "segment-logs/")]
    vip = Audience(name="VIP", snapshot=Snapshot(path="gs://exports/vip/*.parquet"))
    assert [(one.namespace, one.name) for one in lineage.sealing(vip, 7).inputs] == [("gs://exports", "vip/*.parquet")]


@pytest.mark.parametrize(
    ("path", "namespace", "name"),
    [
        ("s3://exports/vip/day-?.csv", "s3://exports", "vip/day-?.csv"),
        ("exports/day-?.csv", "file", "exports/day-?.csv"),
        ("file:///srv/vip.csv", "file", "/srv/vip.csv"),
        ("https://ana:secret@files.example/vip.csv?X-Amz-Signature=secret", "https://files.example", "vip.csv"),
        ("az://exports/vip.csv?sv=2024-01-01&sig=secret", "az://exports", "vip.csv"),
        ("s3://exports/vip.csv?X-Amz-Signature=secret", "s3://exports", "vip.csv"),
        ("abfs://exports@acme.dfs.core.windows.net/vip.csv", "abfs://exports@acme.dfs.core.windows.net", "vip.csv"),
    ],
)
def test_a_pattern_keeps_its_question_marks_and_an_address_shows_no_secret(
    path: str, namespace: str, name: str
) -> None:
    (read,) = lineage.forwarding(path, "windsor", 3).inputs
    assert (read.namespace, read.name) == (namespace, name)


def test_what_a_query_reads_is_not_made_up() -> None:
    vip = Audience(name="VIP", snapshot=Snapshot(connection="warehouse", query="select user_id from vip"))
    sealed = lineage.sealing(vip, 7)
    assert (list(sealed.inputs), [one.name for one in sealed.outputs]) == ([], ["audiences/vip"])
