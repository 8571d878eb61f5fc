-- Counts the persons who differ between the last snapshot and this one: entered, exited, updated, moved. Every engine runs it.
-- It reads snapshot_before, snapshot_now and merges as changes.sql does, run (see there), and
--   found_changes  identity, change, since_run: the changes that changes.sql has found
WITH members AS (
    SELECT
        FALSE AS is_now, coalesce('u' || m.survivor, s.identity) AS person, s.identity, s.email, s.value, m.id IS NOT NULL AS is_merged
    FROM snapshot_before s
    LEFT JOIN merges m ON m.id = coalesce(s.user_id, s.anonymous_id)
    UNION ALL
    SELECT TRUE, coalesce('u' || m.survivor, s.identity), s.identity, s.email, s.value, m.id IS NOT NULL
    FROM snapshot_now s
    LEFT JOIN merges m ON m.id = coalesce(s.user_id, s.anonymous_id)
),
ranked AS (
    SELECT
        is_now, person, email, value,
        row_number() OVER (PARTITION BY is_now, person ORDER BY CASE WHEN identity = person THEN 0 ELSE 1 END, identity) AS place
    FROM members
    WHERE is_merged
),
persons AS (
    SELECT is_now, person, email, value FROM members WHERE NOT is_merged
    UNION ALL
    SELECT is_now, person, email, value FROM ranked WHERE place = 1
),
moves AS (
    SELECT identity, change FROM found_changes WHERE change IN ('moved', 'moved_from')
)
SELECT
    count(*) FILTER (WHERE b.person IS NULL AND m.change IS DISTINCT FROM 'moved'),
    count(*) FILTER (WHERE n.person IS NULL AND m.change IS DISTINCT FROM 'moved_from'),
    count(*) FILTER (WHERE n.person IS NOT NULL AND b.person IS NOT NULL AND m.change IS NULL
        AND (b.value IS DISTINCT FROM n.value OR (n.email IS NOT NULL AND b.email IS DISTINCT FROM n.email))),
    (SELECT count(*) FROM found_changes f CROSS JOIN run r WHERE f.change = 'moved' AND f.since_run = r.number)
FROM (SELECT * FROM persons WHERE NOT is_now) b
FULL JOIN (SELECT * FROM persons WHERE is_now) n ON n.person = b.person
LEFT JOIN moves m ON m.identity = coalesce(n.person, b.person)
