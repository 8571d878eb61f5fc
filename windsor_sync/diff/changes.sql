-- Compares what Windsor was told with the snapshot, person by person, and finds the changes. Every engine runs this one
-- statement. It reads these views:
--   snapshot_before, snapshot_now  identity, user_id, anonymous_id, email, profile_id, value
--   owed                           what owed.sql finds: the changes Windsor has not acknowledged
--   departed                       identity, user_id, anonymous_id, email, was_told: told true once (resync only); was_told
--                                  false where a later record says that the user left
--   merges                         what merges.sql finds: id, survivor, number
--   run                            one row: number, taken_at, moment, previous_number, is_resync, is_recovery, drops_exits,
--                                  retries (whether rejected changes are tried now), retry_code and retry_since (which; null: all),
--                                  merges_seen (the newest merge that the run before knew of), joins (whether Windsor merges
--                                  the two ids of an identify)
-- {anonymous_ids} makes a row of each anonymous id of a user, {profile_ids} of each profile; a column has one a line.
-- A person with merged ids has the identity of the surviving id; everyone else has their own identity.
-- The two snapshots may leave out users of whom there is nothing to say (see suspects.sql), always in both.
WITH touched AS (
    -- Persons into whom an id was merged since the last run: Windsor may show another value for them now.
    SELECT m.survivor
    FROM merges m
    CROSS JOIN run r
    WHERE m.id = m.survivor AND m.number > r.merges_seen
),
now_rows AS (
    SELECT
        coalesce('u' || m.survivor, n.identity) AS person, n.identity, coalesce(m.survivor, n.user_id) AS user_id,
        n.anonymous_id, n.email, n.profile_id, n.value, m.id IS NOT NULL AS is_merged
    FROM snapshot_now n
    LEFT JOIN merges m ON m.id = coalesce(n.user_id, n.anonymous_id)
),
now_ranked AS (
    SELECT *, row_number() OVER (PARTITION BY person ORDER BY CASE WHEN identity = person THEN 0 ELSE 1 END, identity) AS place
    FROM now_rows
    WHERE is_merged
),
now_persons AS (
    -- Of several rows of one person, the row of the surviving id counts; without such a row, the first one.
    SELECT person, user_id, anonymous_id, email, profile_id, value FROM now_rows WHERE NOT is_merged
    UNION ALL
    SELECT person, user_id, anonymous_id, email, profile_id, value FROM now_ranked WHERE place = 1
),
owed_persons AS (
    SELECT
        coalesce('u' || m.survivor, o.identity) AS person, o.*,
        coalesce(m.survivor, o.user_id) AS surviving_id, m.id IS NOT NULL AS is_merged, j.survivor AS joined
    FROM owed o
    LEFT JOIN merges m ON m.id = coalesce(o.user_id, o.anonymous_id)
    -- The anonymous id that the call would have merged into the user was merged meanwhile, maybe into somebody else.
    LEFT JOIN merges j ON o.change = 'moved' AND o.user_id IS NOT NULL AND j.id = o.anonymous_id
),
told_rows AS (
    -- What Windsor was told: the last snapshot less the owed changes. In doubt means it may have been told otherwise.
    SELECT
        coalesce('u' || m.survivor, s.identity) AS person, s.identity, coalesce(m.survivor, s.user_id) AS user_id,
        s.anonymous_id, s.email, s.profile_id, s.value, TRUE AS was_told, FALSE AS in_doubt, FALSE AS was_sent, FALSE AS is_due,
        NULL AS joins, m.id IS NOT NULL AS is_merged
    FROM snapshot_before s
    CROSS JOIN run r
    LEFT JOIN merges m ON m.id = coalesce(s.user_id, s.anonymous_id)
    LEFT JOIN (SELECT DISTINCT person FROM owed_persons WHERE is_merged) p ON p.person = 'u' || m.survivor
    WHERE NOT EXISTS (SELECT 1 FROM owed o WHERE o.identity = s.identity)
      -- For an id that was merged before the last run, the person's change is the one that is owed.
      AND (p.person IS NULL OR m.number > r.merges_seen)
    UNION ALL
    SELECT
        o.person, o.identity, o.surviving_id,
        CASE WHEN o.was_told THEN o.told_anonymous_id ELSE o.anonymous_id END,
        CASE WHEN o.was_told THEN o.told_email ELSE o.email END,
        coalesce(CASE WHEN o.change = 'moved_from' AND o.user_id IS NOT NULL THEN o.told_anonymous_id END, s.profile_id),
        o.told_value, o.was_told, o.in_doubt OR o.is_unanswered, o.was_sent OR o.is_unanswered, o.change = 'moved',
        CASE WHEN o.change = 'moved' AND o.user_id IS NOT NULL AND o.joined IS NULL THEN o.anonymous_id END, o.is_merged
    FROM owed_persons o
    LEFT JOIN snapshot_before s ON s.identity = o.identity
    WHERE o.was_told OR o.in_doubt OR o.is_unanswered
    UNION ALL
    SELECT
        'u' || o.joined, 'a' || o.anonymous_id, o.joined, NULL, o.told_email, NULL, o.told_value, TRUE, FALSE, FALSE, FALSE, NULL,
        TRUE
    FROM owed_persons o
    WHERE o.joined IS NOT NULL AND o.was_told
    UNION ALL
    SELECT
        coalesce('u' || m.survivor, d.identity), d.identity, coalesce(m.survivor, d.user_id),
        d.anonymous_id, d.email, NULL, NULL, d.was_told, TRUE, FALSE, FALSE, NULL, m.id IS NOT NULL
    FROM departed d
    LEFT JOIN merges m ON m.id = coalesce(d.user_id, d.anonymous_id)
    WHERE NOT EXISTS (SELECT 1 FROM snapshot_before s WHERE s.identity = d.identity)
      AND NOT EXISTS (SELECT 1 FROM owed o WHERE o.identity = d.identity)
),
told_ranked AS (
    SELECT
        person, user_id, anonymous_id, email, profile_id, value,
        bool_or(was_told) OVER (PARTITION BY person) AS was_told,
        bool_or(in_doubt) OVER (PARTITION BY person) AS in_doubt,
        bool_or(was_sent) OVER (PARTITION BY person) AS was_sent,
        bool_or(is_due) OVER (PARTITION BY person) AS is_due,
        max(joins) OVER (PARTITION BY person) AS joins,
        row_number() OVER (
            PARTITION BY person
            ORDER BY CASE WHEN was_told THEN 0 ELSE 1 END, CASE WHEN identity = person THEN 0 ELSE 1 END, identity
        ) AS place
    FROM told_rows
    WHERE is_merged
),
told AS (
    SELECT
        person, user_id, anonymous_id, email, profile_id, value, was_told, in_doubt, was_sent, is_due, joins,
        FALSE AS is_touched
    FROM told_rows
    WHERE NOT is_merged
    UNION ALL
    SELECT
        t.person, t.user_id, t.anonymous_id, t.email, t.profile_id, t.value, t.was_told, t.in_doubt, t.was_sent,
        t.is_due OR x.survivor IS NOT NULL, t.joins, x.survivor IS NOT NULL
    FROM told_ranked t
    LEFT JOIN touched x ON x.survivor = t.user_id
    WHERE t.place = 1
),
matched AS (
    SELECT
        coalesce(n.person, t.person) AS person,
        n.person IS NOT NULL AS is_member,
        t.person IS NOT NULL AS is_known,
        n.user_id, n.anonymous_id, n.email, n.value,
        t.user_id AS told_user_id, t.anonymous_id AS told_anonymous_id, t.email AS told_email, t.value AS told_value,
        t.profile_id AS told_profile_id,
        coalesce(t.was_told, FALSE) AS was_told, coalesce(t.in_doubt, FALSE) AS in_doubt, coalesce(t.was_sent, FALSE) AS was_sent,
        coalesce(t.is_due, FALSE) AS is_due, coalesce(t.is_touched, FALSE) AS is_touched, t.joins
    FROM told t
    FULL JOIN now_persons n ON n.person = t.person
),
links AS (
    -- A user who is gone under the identity that Windsor was told, and may be in the snapshot under another one. It is not known
    -- whether Windsor has merged the two.
    SELECT g.person AS left_as, n.person AS found_as, g.told_anonymous_id AS joins
    FROM matched g
    JOIN (SELECT person, {anonymous_ids} AS anonymous_id FROM now_rows WHERE user_id IS NOT NULL AND anonymous_id IS NOT NULL) n
        ON n.anonymous_id = g.told_anonymous_id
    WHERE NOT g.is_member AND g.told_user_id IS NULL
    UNION
    SELECT g.person, n.person, NULL
    FROM (SELECT person, {told_profile_ids} AS profile_id FROM matched WHERE NOT is_member AND told_profile_id IS NOT NULL) g
    JOIN (SELECT person, {profile_ids} AS profile_id FROM now_persons WHERE profile_id IS NOT NULL) n ON n.profile_id = g.profile_id
),
links_counted AS (
    SELECT
        left_as, found_as, joins,
        count(*) OVER (PARTITION BY left_as) AS found_times,
        count(*) OVER (PARTITION BY found_as) AS left_times
    FROM links
),
joined AS (
    -- Where Windsor merges the two ids of an identify, one such call merges them; only where the pair is unambiguous.
    SELECT l.left_as, l.found_as, l.joins
    FROM links_counted l
    CROSS JOIN run r
    WHERE r.joins AND l.joins IS NOT NULL AND l.found_times = 1 AND l.left_times = 1
),
changes AS (
    SELECT
        m.person AS identity,
        coalesce(m.user_id, m.told_user_id) AS user_id,
        CASE
            WHEN coalesce(m.user_id, m.told_user_id) IS NULL THEN coalesce(m.anonymous_id, m.told_anonymous_id)
            -- An identify with both ids makes Windsor merge the two.
            WHEN m.is_member AND (f.found_as IS NOT NULL OR m.is_due) THEN coalesce(j.joins, m.joins)
        END AS anonymous_id,
        CASE WHEN m.is_member THEN m.email ELSE m.told_email END AS email,
        m.value,
        CASE
            WHEN NOT m.is_member AND l.left_as IS NOT NULL THEN 'moved_from'
            WHEN NOT m.is_member THEN 'exited'
            WHEN f.found_as IS NOT NULL OR (m.was_told AND m.is_due) THEN 'moved'
            WHEN m.was_told THEN 'updated'
            ELSE 'entered'
        END AS change,
        m.was_told OR j.found_as IS NOT NULL AS was_told,
        CASE
            -- By their profiles the next run knows them again, should this `false` not be answered.
            WHEN NOT m.is_member AND l.left_as IS NOT NULL AND m.told_user_id IS NOT NULL THEN m.told_profile_id
            WHEN m.was_told THEN m.told_anonymous_id
        END AS told_anonymous_id,
        CASE WHEN m.was_told THEN m.told_email END AS told_email,
        CASE WHEN m.was_told THEN m.told_value END AS told_value,
        -- A resync doubts all that Windsor was told; about who is new to it there is nothing to doubt.
        m.is_known AND (m.in_doubt OR r.is_resync) AS in_doubt,
        -- After the state was lost, nobody knows what was sent.
        m.is_known AND (m.was_sent OR r.is_recovery) AS was_sent,
        m.is_touched OR f.found_as IS NOT NULL AS is_new
    FROM matched m
    CROSS JOIN run r
    LEFT JOIN (SELECT DISTINCT left_as FROM links) l ON l.left_as = m.person
    LEFT JOIN (SELECT DISTINCT found_as FROM links) f ON f.found_as = m.person
    LEFT JOIN joined j ON j.found_as = m.person
    LEFT JOIN joined away ON away.left_as = m.person
    WHERE away.left_as IS NULL
      AND (NOT m.is_known
        OR (NOT m.is_member AND NOT r.drops_exits)
        OR (m.is_member AND (
            m.in_doubt OR m.is_due OR f.found_as IS NOT NULL OR r.is_resync
            OR (m.email IS NOT NULL AND m.told_email IS DISTINCT FROM m.email) OR m.told_value IS DISTINCT FROM m.value)))
    UNION ALL
    -- A user who leaves before Windsor has acknowledged the call that merges two ids is told false under both ids.
    SELECT
        'a' || m.joins, NULL, m.joins, m.told_email, NULL, 'moved_from', TRUE, m.joins, m.told_email, m.told_value, TRUE,
        m.was_sent OR r.is_recovery, FALSE
    FROM matched m
    CROSS JOIN run r
    WHERE NOT m.is_member AND m.joins IS NOT NULL AND NOT r.drops_exits
      AND NOT EXISTS (SELECT 1 FROM merges k WHERE k.id = m.joins)
),
traced AS (
    -- A change that is owed already keeps its origin and so its messageId, unless a merge since then may have changed what
    -- Windsor shows.
    SELECT
        c.*,
        o.identity IS NOT NULL AND NOT r.is_resync AND NOT c.is_new
            AND (o.change IN ('exited', 'moved_from')) = (c.change IN ('exited', 'moved_from'))
            AND o.email IS NOT DISTINCT FROM c.email
            AND o.value IS NOT DISTINCT FROM c.value AS is_same,
        o.since_run, o.since_at, o.attempts_made, o.last_tried_run, o.last_tried_at, o.last_code
    FROM changes c
    CROSS JOIN run r
    LEFT JOIN owed o ON o.identity = c.identity
)
SELECT
    c.identity, c.user_id, c.anonymous_id, c.email, c.value, c.change,
    c.was_told, c.told_anonymous_id, c.told_email, c.told_value, c.in_doubt, c.was_sent,
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
