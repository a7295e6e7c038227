-- What is published with each partition beside its rows, of the tables at hand.
--
-- Columns:
--   table_name: name of the table
--   shard: key of the shard; all for tables that are not cut by shard
--   partition: name of the partition, with `round-<n>.` in front of it where the round is 2 or later
--   fingerprint: digest of all that the rows were computed from, and of the rows
--   parts: parts of the fingerprint by name (JSON whose values are JSON again)
--   run: Dagster run that made the partition
--   made_at: when (UTC, ISO 8601)
--   metadata: all that is stored, as JSON
select
    table_name,
    shard,
    partition,
    metadata ->> 'fingerprint' as fingerprint,
    metadata ->> 'parts' as parts,
    metadata ->> 'run' as run,
    metadata ->> 'made_at' as made_at,
    metadata
from published
