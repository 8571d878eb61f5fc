-- Where in the two snapshots the users stand about whom there may be something to say. Everyone else is in both with the
-- same e-mail and value and nothing is owed: the plain statement would say nothing about them. Three numbers a row go
-- through the join, not the texts. To overlook a change, two users would have to agree in both hashes, 128 bits, or
-- somebody's new e-mail or value with their old one in the 64 bits of `content`. Where `key` alone collides, a row may
-- stand beside another user's. {key} is an expression over user_id and anonymous_id, {key_of_owed} the same over identity.
-- `content` hashes the parts of the identity. Making one text of them would take a fifth of this statement's time.
SELECT coalesce(n.key, b.key) AS key, n.file_row AS row_now, b.file_row AS row_before
FROM (
    SELECT {key} AS key, hash(email, value, coalesce(user_id, anonymous_id), user_id IS NULL) AS content, file_row
    FROM snapshot_now
) n
FULL JOIN (
    SELECT {key} AS key, hash(email, value, coalesce(user_id, anonymous_id), user_id IS NULL) AS content, file_row
    FROM snapshot_before
) b ON b.key = n.key
WHERE n.content IS DISTINCT FROM b.content
   OR coalesce(n.key, b.key) IN (SELECT {key_of_owed} FROM owed)
