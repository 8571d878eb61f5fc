"""From a task to its audience's page."""

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PAGE = "/windsor/"


def audience_page(key: str) -> str:
    """Return where the audience's page is, below Airflow's address."""
    return f"{PAGE}audiences/" + quote(key, safe="")


IN_FRAME = "/plugin/windsor"
"""Path of the page in Airflow's own frame. Airflow keeps the part behind `#`, and the page's script reads it."""


class AudienceLink(BaseOperatorLink):
    """A button "Audience" on the task."""

    name = "Audience"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:  # noqa: ARG002
        """Return the address of the audience's page in Airflow's frame, below the path that Airflow is served from."""
        from urllib.parse import urlsplit

        from airflow.sdk import conf

        root = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
        return f"{root}{IN_FRAME}#audience=" + quote(str(getattr(operator, "audience", "")), safe="")
