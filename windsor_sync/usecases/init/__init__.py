"""Discovers snapshots, archive and Airflow for `init`, in a folder and in the environment, without asking."""
