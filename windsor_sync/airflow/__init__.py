"""The Airflow provider: what schedules the use cases and shows them in Airflow's pages."""
