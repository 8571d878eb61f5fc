-- What is known of merged ids: id, survivor, number, since. It reads two files of these columns: `merges_recent` holds where
-- both speak of an id, and also says into whom a survivor of `merges_base` was merged since.
SELECT id, survivor, number, since
FROM merges_recent
UNION ALL
SELECT b.id, coalesce(r.survivor, b.survivor) AS survivor, b.number, b.since
FROM merges_base b
LEFT JOIN merges_recent r ON r.id = b.survivor
WHERE NOT EXISTS (SELECT 1 FROM merges_recent own WHERE own.id = b.id)
