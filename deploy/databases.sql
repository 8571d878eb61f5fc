-- Airflow's database and, beside it, the state: what Windsor was told, which no task of Airflow's may lose. Each has a role of its
-- own, which cannot connect to the other one. Run again, it gives an older installation the same roles:
--   docker compose exec postgres psql --username windsor --dbname postgres --file /docker-entrypoint-initdb.d/databases.sql
\set ON_ERROR_STOP on
\getenv airflow_password AIRFLOW_DB_PASSWORD
\getenv state_password STATE_DB_PASSWORD

SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY['airflow', 'windsor_sync']) AS name
WHERE name NOT IN (SELECT rolname FROM pg_roles) \gexec
ALTER ROLE airflow PASSWORD :'airflow_password';
ALTER ROLE windsor_sync PASSWORD :'state_password';

SELECT format('CREATE DATABASE %I', name) FROM unnest(ARRAY['airflow', 'windsor_sync']) AS name
WHERE name NOT IN (SELECT datname FROM pg_database) \gexec
ALTER DATABASE airflow OWNER TO airflow;
ALTER DATABASE windsor_sync OWNER TO windsor_sync;
REVOKE ALL ON DATABASE airflow, windsor_sync, postgres FROM PUBLIC;

\connect airflow
ALTER SCHEMA public OWNER TO airflow;
SELECT format('ALTER TABLE %I OWNER TO airflow', tablename) FROM pg_tables WHERE schemaname = 'public' \gexec
SELECT format('ALTER TYPE %I OWNER TO airflow', typname) FROM pg_type
WHERE typtype = 'e' AND typnamespace = 'public'::regnamespace \gexec

\connect windsor_sync
ALTER SCHEMA public OWNER TO windsor_sync;
SELECT format('ALTER TABLE %I OWNER TO windsor_sync', tablename) FROM pg_tables WHERE schemaname = 'public' \gexec
