-- The decided partitions of one home, from footers alone: whose rows they have, and of what these
-- were made. `partition_metadata` has the tables that a comparison reads.
--
-- Result: shard, partition, fingerprint, model (JSON: identity of the annotator, and its start
-- token), is_whole (false where a build has replaced since what the decisions were made from), kept
-- (calls).
with
made as (
    select table_name, shard, partition, fingerprint, parts, metadata ->> 'made_from' as made_from
    from partition_metadata
),
kept as (
    select shard, if(round = 1, '', 'round-' || round || '.') || tool as partition, sum(calls) as kept
    from decision_counts
    where reason = 'kept'
    group by all
)
select
    decided.shard,
    decided.partition,
    any_value(decided.fingerprint) as fingerprint,
    any_value(inputs.parts ->> 'language_model') as model,
    count(*) filter (
        json_extract_string(
            decided.made_from,
            '$."' || inputs.table_name || ' of ' || inputs.shard || ', ' || inputs.partition || '"'
        ) <> inputs.fingerprint
    ) = 0 as is_whole,
    coalesce(any_value(kept), 0)::bigint as kept
from made as decided
left join made as inputs
    on inputs.table_name <> 'filtered_calls'
    and inputs.shard = decided.shard
    and inputs.partition in (decided.partition, 'all')
left join kept on kept.shard = decided.shard and kept.partition = decided.partition
where decided.table_name = 'filtered_calls'
group by decided.shard, decided.partition
order by decided.shard, decided.partition
