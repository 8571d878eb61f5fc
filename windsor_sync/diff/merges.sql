-- Finds all known merges: id, survivor, number, since. It reads two files with these columns. Where both have an id,
-- `merges_recent` counts; it also has the new survivor of a survivor in `merges_base` that was merged later.
SELECT id, survivor, number, since
FROM merges_recent
UNION ALL
SELECT b.id, coalesce(r.survivor, b.survivor) AS survivor, b.number, b.since
FROM merges_base b
LEFT JOIN merges_recent r ON r.id = b.survivor
WHERE NOT EXISTS (SELECT 1 FROM merges_recent own WHERE own.id = b.id)
