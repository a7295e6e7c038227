-- What is stored with each partition beside its rows, of the tables at hand (`stored` has it raw).
--
-- Columns:
--   table_name: name of the table
--   shard: key of the shard; all for tables that are not cut by shard
--   partition: name of the partition, with `round-<n>.` in front of it where the round is 2 or later
--   fingerprint: digest of all that the rows were computed from
--   parts: parts of the fingerprint by name (JSON whose values are JSON again)
--   run: Dagster run that made the partition
--   made_at: when (UTC, ISO 8601)
--   metadata: all that is stored, as JSON
select
    table_name,
    place[1] as shard,
    place[2] as partition,
    metadata ->> 'fingerprint' as fingerprint,
    metadata ->> 'parts' as parts,
    metadata ->> 'run' as run,
    metadata ->> 'made_at' as made_at,
    metadata
from (
    select
        table_name,
        regexp_extract_all(file_name, '/shard=([^/]+)/', 1)
        || regexp_extract_all(file_name, '/([^/]+)@\d{8}-[0-9a-f]{16}\.parquet$', 1) as place,
        decode(value)::json as metadata
    from stored
    where decode(key) = 'toolformer'
)
where place[1] <> 'none'
