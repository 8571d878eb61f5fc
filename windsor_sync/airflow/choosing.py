"""The audiences that a person names when they start a sync by hand."""

from airflow.sdk import Context

from windsor_sync.airflow.windsor_task import WindsorOperator


class ChooseAudiencesOperator(WindsorOperator):
    """Read the audiences out of the run's configuration, `{"audiences": ["vip"]}`; records and sends nothing."""

    can_wait_for_windsor = False

    def execute(self, context: Context) -> list[str]:
        """Return the audiences' trait keys; raises ConfigError where none is named or one is not in windsor.yaml."""
        from windsor_sync.errors import ConfigError
        from windsor_sync.settings import load

        named = (context["dag_run"].conf or {}).get("audiences")
        if not isinstance(named, list) or not named or not all(isinstance(each, str) for each in named):
            raise ConfigError(
                "The run's configuration names no audiences. Nothing was sent. Start it with Sync now on an audience's page, "
                'or with the configuration {"audiences": ["TRAIT_KEY"]}.'
            )
        return [str(each.key) for each in load().find(named)]
