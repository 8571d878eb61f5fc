-- The hashes of the ids about which there may be something to say. Everyone else is in both snapshots with the same
-- e-mail and value and nothing is owed: the plain statement would say nothing about them. Two numbers a row go through
-- the join, not the texts. To overlook a change, two users would have to agree in both hashes, 128 bits, or somebody's
-- new e-mail or value with their old one in the 64 bits of `content`. Where `key` alone collides, users are looked at
-- in vain. {key} is an expression over user_id and anonymous_id, {key_of_owed} the same over identity.
SELECT coalesce(n.key, b.key) AS key
FROM (SELECT {key} AS key, hash(email, value, identity) AS content FROM snapshot_now) n
FULL JOIN (SELECT {key} AS key, hash(email, value, identity) AS content FROM snapshot_before) b ON b.key = n.key
WHERE n.content IS DISTINCT FROM b.content
UNION ALL
SELECT {key_of_owed} FROM owed
