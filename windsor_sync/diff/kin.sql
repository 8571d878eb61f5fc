-- What is known of persons about whom there may be something to say, because of a row of one of their ids or because somebody
-- was merged into them. {key} is an expression over id, {key_of_owed} the same over the identity of `owed`.
SELECT id, survivor, number
FROM merges
WHERE survivor IN (
    SELECT m.survivor
    FROM merges m
    CROSS JOIN run r
    WHERE (m.id = m.survivor AND m.number > r.merges_seen)
       OR {key} IN (SELECT key FROM suspects UNION SELECT {key_of_owed} FROM owed))
