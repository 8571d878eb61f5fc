-- Finds the merges of persons who may have a change: a row of one of their ids is a suspect, or an id was merged into theirs
-- since the last run. {key} is an expression over id, {key_of_owed} the same over the identity of `owed`.
SELECT id, survivor, number
FROM merges
WHERE survivor IN (
    SELECT m.survivor
    FROM merges m
    CROSS JOIN run r
    WHERE (m.id = m.survivor AND m.number > r.merges_seen)
       OR {key} IN (SELECT key FROM suspects UNION SELECT {key_of_owed} FROM owed))
