"""The `windsor.yaml` that `windsor-sync init` writes: valid as it stands, pointing at the sandbox."""

from typing import Final

TEMPLATE: Final = """\
# Settings of windsor-sync. `windsor-sync check` reads this file and lists every mistake with its line.
# The environment can set any value except alerts, also of an audience: WINDSOR_SYNC_STATE, WINDSOR_SYNC_AUDIENCES__VIP__ENABLED …
# Relative paths count from this file's folder.

# The id of your Engage space, in the address of its pages in Segment. Windsor gets it in context.personas.
# space: spa_…

# What Windsor was told, and what it has not acknowledged yet: an SQLite file, or postgresql+psycopg://HOST/DATABASE
# where several machines share the work. Keep a password out of this file: set WINDSOR_SYNC_STATE instead.
# A new URL is an empty state: `windsor-sync state copy --to URL` moves the one that is there.
state: sqlite:///.windsor/state.db

# Where sealed snapshots and outboxes are kept: a folder, or s3://bucket/prefix, gs://bucket/prefix.
files: .windsor/files
# readable_by: owner               # or group, where workers of several users share these files
# diff: duckdb                      # or spark, where an audience outgrows one machine

# Where Windsor is. This is the sandbox, a Windsor on your own machine: `windsor-sync sandbox` starts it.
# The key never stands here: it is in the Airflow connection or, outside Airflow, in the variable WINDSOR_API_KEY.
destination:
  wire: segment_webhook          # as Segment sends; or windsor_hook, Windsor's own: users and events only
  url: http://127.0.0.1:8474/    # https, except on this machine
  # name: windsor                # keep it when the url changes, to go on with the same ledger; default: host and path
  connection: windsor_default    # the Airflow connection with the key
  requests_per_second: 200       # for all tasks together
  max_in_flight: 64              # requests that may wait for an answer
  timeout_s: 10                  # for one answer
  give_up_after_s: 600           # without any answer: stop, what is unsent stays owed
  # client_certificate: c.pem    # the certificate to show, where Windsor asks for one
  # client_key: key.pem          # its key, where that file has none
  # identify_merges: false       # whether an identify with a user id and an anonymous id merges them; leave it out if unknown

# Segment's Public API. With this section each run asks whether an audience is settled, whether its snapshot is whole, and
# whom Segment suppresses; `windsor-sync audiences --from-segment` lists what the space has. It needs `space` above.
# The token is in the Airflow connection or, outside Airflow, in the variable SEGMENT_PUBLIC_API_TOKEN.
# segment:
#   region: us                   # or eu
#   url: https://api.segmentapis.com    # default: as the region says
#   connection: segment_default
#   size_tolerance_percent: 5    # a snapshot that lacks more of the users Segment reports is refused

# How often the DAGs run. Engage itself syncs every 2h to 3h.
schedule:
  audiences: 2h30m
  events: 15m
  # task_timeout: 2h               # limit of one try of an Airflow task; the next try goes on where it stopped

# What holds for every audience and computed trait below; each may say otherwise under the same key.
defaults:
  identify_by: user_id           # or anonymous_id, for users who have no user id
  emails: first                  # of a user with several: first, last, or all (one message each)
  # emails_from: all             # a user without an e-mail gets the one that another audience's snapshot has; or own
  max_exited_percent: 30         # more members than this leaving at once are withheld until a person approves
  max_entered_percent: null      # the same for entries; null sets no limit
  unreadable_rows: withhold_exits # a row that names nobody may be any member's: exits wait for a person; or tell
  max_age: 36h                   # an older snapshot file is stale; null lets it be of any age
  max_age_action: warn           # a stale snapshot is synced with a warning; or fail, and nothing is sent
  query_timeout: 1h              # a query of a warehouse that takes longer is cancelled; null sets no limit
  guard_floor: 100               # an audience with fewer members is never held back
  max_rejected_percent: 0        # a run of which Windsor rejects more than this fails

# Who may approve withheld changes; without this section, every user who may start the DAG.
# approval:
#   approvers: [ana, "role:Op"]

# The page "Audiences" in Airflow.
# page:
#   look_up_by_email: false        # whether the look-up of users also accepts an e-mail
#   sandbox_url: http://127.0.0.1:8474/   # where browsers find the sandbox: users who are shown link to it

# Receivers of one message when something goes wrong and one when it is over: webhooks, or in Airflow any notifier.
# alerts:
#   - webhook: https://chat.example/hooks/data     # gets JSON with `text`
#   - connection: pager          # a webhook whose URL is a secret: the password of this Airflow connection; outside
#                                # Airflow, the variable WINDSOR_CONNECTION_PAGER
#     events: [withheld, credentials_refused, unavailable, unusable, stale, late, rejected, size, orphaned, recovered]
#   - notifier: airflow.providers.smtp.notifications.smtp.SmtpNotifier
#     arguments: {to: data@example.com, subject: "{{ windsor.title }}", html_content: "{{ windsor.text }}"}

# The audiences to sync. The trait key in Windsor is made of the name by Segment's rule: order_completed_last_30days.
audiences:
  - name: Order Completed Last 30days
    # id: aud_…                  # in the address of the audience's page in Segment
    # trait: recent_buyers       # pins the key by hand
    # enabled: false             # leaves it alone for now
    snapshot:
      path: snapshots/order_completed_last_30days/*.csv    # the newest file is read
      format: engage_csv         # Engage's download; or csv, jsonl, parquet
      # taken_at: "%Y-%m-%d"     # the date in the path; default: the file's modification time
      # consists_of: all_files   # files that may be one export, and whose names leave it open; or one_file
      # size_tolerance_percent: 20    # a query that leaves users out may lack so many of those Segment reports
      max_malformed_percent: 0.1 # more rows than this that cannot be read: the snapshot is refused
  # - name: VIP
  #   snapshot:                  # a warehouse instead of files
  #     connection: warehouse    # an Airflow connection; elsewhere the URL in WINDSOR_CONNECTION_WAREHOUSE
  #     query: select user_id, email from vip_customers
  #     # or, instead of query, the tables that Segment writes: profiles_sync: SCHEMA, or engage: SCHEMA

# Computed traits: the value itself becomes the user's property, sent when it has changed.
# computed_traits:
#   - name: Total Revenue 180 Days
#     snapshot:
#       path: snapshots/total_revenue/*.parquet
#       columns: {user_id: customer, value: total}         # where csv, jsonl or parquet have names of your own
#     on_missing: null           # send null when a user's value is gone; without this key nothing is sent

# Ordinary Segment events, from the raw archive in S3 or Google Cloud Storage.
# events:
#   archive: s3://bucket/segment-logs/
#   calls: [identify, track, page, screen, group, alias]
#   alias: forward               # or hold: Windsor cannot undo the merge of two users
#   since: 2025-06-01            # the archive's folders of earlier days (UTC) are not read; default: all are
#   consent_categories: [C0004]  # that Windsor is mapped to in Segment: a user who refused one is not forwarded
#   dedupe_days: 7               # how long a message is remembered, so that it is not forwarded twice
"""
