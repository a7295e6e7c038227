-- Metadata with which partitions were published, one row per partition.
--
-- Columns:
--   table_name: name of the table
--   shard: key of the shard; all for tables that are not cut by shard
--   partition: name of the partition, with the prefix `round-<n>.` in round 2 and later
--   fingerprint: digest of the rows and of all inputs from which they were computed
--   parts: inputs by name, as a JSON object whose values are JSON again
--   run: Dagster run that made the partition
--   made_at: time at which the partition was made (UTC, ISO 8601)
--   metadata: complete metadata as JSON
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
