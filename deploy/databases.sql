-- Beside Airflow's own: what Windsor was told, which no task of Airflow's may lose.
CREATE DATABASE windsor_sync;
