-- What Windsor has not acknowledged of the last outbox. Only a yes clears a doubt. It reads these views:
--   outbox_before    the rows of the ledger's outbox (see outbox.py), with seq
--   progress_before  first, last (exclusive), position, reach: the shards of that outbox, in parts (see progress.py)
--   verdicts_before  seq, verdict, code, in_doubt, answered_at: its rows whose answer was not a plain yes
--   run              as in changes.sql
WITH answerless AS (
    -- Spares the joins the rows with a plain yes: after an initial sync these are nearly all.
    SELECT *
    FROM outbox_before
    WHERE identity IS NOT NULL -- a forgotten user's row has none
      AND (status <> 'send'
        OR seq >= (SELECT min(p.position) FROM progress_before p WHERE p.position < p.last)
        OR seq IN (SELECT v.seq FROM verdicts_before v))
)
SELECT
    o.*,
    coalesce(v.in_doubt, FALSE)
        OR (o.status = 'send' AND v.verdict IS NULL AND o.seq >= p.position AND o.seq < p.reach) AS is_unanswered,
    CASE WHEN v.verdict = 'rejected' THEN o.attempts + 1 ELSE o.attempts END AS attempts_made,
    CASE WHEN v.verdict = 'rejected' THEN r.previous_number ELSE o.tried_run END AS last_tried_run,
    CASE WHEN v.verdict = 'rejected' THEN v.answered_at ELSE o.tried_at END AS last_tried_at,
    CASE WHEN v.verdict = 'rejected' THEN v.code ELSE o.tried_code END AS last_code
FROM answerless o
CROSS JOIN run r
LEFT JOIN progress_before p ON o.seq >= p.first AND o.seq < p.last
LEFT JOIN verdicts_before v ON o.seq = v.seq
WHERE o.status <> 'send' OR v.verdict <> 'delivered' OR (v.verdict IS NULL AND o.seq >= p.position)
