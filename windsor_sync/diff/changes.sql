-- told × snapshot → changes. One statement for every engine; it reads these views:
--   snapshot_before, snapshot_now  identity, user_id, anonymous_id, email, value
--   owed                           what owed.sql finds: the changes Windsor has not acknowledged
--   departed                       identity, user_id, anonymous_id, email, was_told: told true once (resync only); was_told
--                                  false where a later record says that the user left
--   run                            one row: number, taken_at, moment, previous_number, is_resync, drops_exits,
--                                  retries (whether rejected changes are tried now), retry_code and retry_since (which; null: all)
-- The two snapshots may leave out users of whom there is nothing to say (see suspects.sql), always in both.
WITH told AS (
    -- What Windsor was told: the last snapshot less the owed changes. In doubt means it may have been told otherwise.
    SELECT s.identity, s.user_id, s.anonymous_id, s.email, s.value, TRUE AS was_told, FALSE AS in_doubt
    FROM snapshot_before s
    WHERE NOT EXISTS (SELECT 1 FROM owed o WHERE o.identity = s.identity)
    UNION ALL
    SELECT
        o.identity, o.user_id,
        CASE WHEN o.was_told THEN o.told_anonymous_id ELSE o.anonymous_id END,
        CASE WHEN o.was_told THEN o.told_email ELSE o.email END,
        o.told_value, o.was_told, o.doubted
    FROM owed o
    WHERE o.was_told OR o.doubted
    UNION ALL
    SELECT d.identity, d.user_id, d.anonymous_id, d.email, NULL, d.was_told, TRUE
    FROM departed d
    WHERE NOT EXISTS (SELECT 1 FROM snapshot_before s WHERE s.identity = d.identity)
      AND NOT EXISTS (SELECT 1 FROM owed o WHERE o.identity = d.identity)
),
changes AS (
    SELECT
        coalesce(n.identity, t.identity) AS identity,
        coalesce(n.user_id, t.user_id) AS user_id,
        CASE WHEN n.identity IS NULL THEN t.anonymous_id ELSE n.anonymous_id END AS anonymous_id,
        CASE WHEN n.identity IS NULL THEN t.email ELSE n.email END AS email,
        n.value,
        CASE
            WHEN n.identity IS NULL THEN 'exited'
            WHEN coalesce(t.was_told, FALSE) THEN 'updated'
            ELSE 'entered'
        END AS change,
        coalesce(t.was_told, FALSE) AS was_told,
        CASE WHEN t.was_told THEN t.anonymous_id END AS told_anonymous_id,
        CASE WHEN t.was_told THEN t.email END AS told_email,
        CASE WHEN t.was_told THEN t.value END AS told_value,
        -- A resync doubts all that Windsor was told; about who is new to it there is nothing to doubt.
        t.identity IS NOT NULL AND (t.in_doubt OR r.is_resync) AS in_doubt
    FROM told t
    FULL JOIN snapshot_now n ON t.identity = n.identity
    CROSS JOIN run r
    WHERE t.identity IS NULL
       OR (n.identity IS NULL AND NOT r.drops_exits)
       OR (n.identity IS NOT NULL AND (
            t.in_doubt OR r.is_resync OR (n.email IS NOT NULL AND t.email IS DISTINCT FROM n.email) OR t.value IS DISTINCT FROM n.value))
),
traced AS (
    -- The same change as one that is owed keeps its origin, and with it its messageId.
    SELECT
        c.*,
        o.identity IS NOT NULL AND NOT r.is_resync
            AND (o.change = 'exited') = (c.change = 'exited')
            AND o.email IS NOT DISTINCT FROM c.email
            AND o.value IS NOT DISTINCT FROM c.value AS is_same,
        o.since_run, o.since_at, o.attempts_made, o.last_tried_run, o.last_tried_at, o.last_code
    FROM changes c
    CROSS JOIN run r
    LEFT JOIN owed o ON o.identity = c.identity
)
SELECT
    c.identity, c.user_id, c.anonymous_id, c.email, c.value, c.change,
    c.was_told, c.told_anonymous_id, c.told_email, c.told_value, c.in_doubt,
    CASE WHEN c.is_same THEN c.since_run ELSE r.number END AS since_run,
    CASE WHEN c.is_same THEN c.since_at ELSE r.taken_at END AS since_at,
    CASE WHEN c.is_same THEN c.attempts_made ELSE 0 END AS attempts,
    CASE WHEN c.is_same THEN c.last_tried_run END AS tried_run,
    CASE WHEN c.is_same THEN c.last_tried_at END AS tried_at,
    CASE WHEN c.is_same THEN c.last_code END AS tried_code,
    -- Rejected n times: tried again after 1, 2, 4, 8 … runs, at least daily.
    CASE
        WHEN c.is_same AND c.attempts_made > 0
            AND NOT (r.retries
                AND (r.retry_code IS NULL OR c.last_code = r.retry_code)
                AND (r.retry_since IS NULL OR c.last_tried_at >= r.retry_since))
            AND r.number < c.last_tried_run + power(2, least(c.attempts_made, 20) - 1)
            AND r.moment < c.last_tried_at + INTERVAL 1 DAY
        THEN 'deferred'
        ELSE 'send'
    END AS status
FROM traced c
CROSS JOIN run r
