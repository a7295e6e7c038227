-- What is stored with each slice beside its rows, of the tables at hand (`stored` has it raw).
--
-- Result: table_name, shard, slice (with `round-<n>.` in front from round 2 on), fingerprint, parts
-- (of the fingerprint: JSON whose values are JSON again), run (of Dagster), made_at (UTC, ISO 8601),
-- metadata (all of it, as JSON). What the release that wrote the slice did not store is NULL.
select
    table_name,
    place[1] as shard,
    place[2] as slice,
    metadata ->> 'fingerprint' as fingerprint,
    metadata ->> 'parts' as parts,
    metadata ->> 'run' as run,
    metadata ->> 'made_at' as made_at,
    metadata
from (
    select
        table_name,
        regexp_extract_all(file_name, '/shard=([^/]+)/', 1)
        || regexp_extract_all(file_name, '/([^/]+)@\d{16}-[0-9a-f]{16}\.parquet$', 1) as place,
        decode(value)::json as metadata
    from stored
    where decode(key) = 'toolformer'
)
where place[1] <> 'none'
