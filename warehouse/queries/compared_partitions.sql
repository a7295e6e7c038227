-- The partitions of a home with decisions, according to the catalogues.
--
-- Result: shard, partition, round, tool, content (fingerprint and sums of the decisions; both are
-- needed, because a tool that times out may answer other calls the next time; NULL without a
-- fingerprint), model (JSON: the annotator's identity), is_whole (false if an input of the
-- decisions is missing or was replaced later), kept (number of calls).
with made as (
    select
        *,
        coalesce(try_cast(regexp_extract(partition, '^round-(\d+)\.', 1) as integer), 1) as round,
        regexp_replace(partition, '^round-\d+\.', '') as tool
    from partition_metadata
)
select
    decided.shard,
    decided.partition,
    decided.round,
    decided.tool,
    any_value(decided.fingerprint || coalesce(counted.sums, '')) as content,
    any_value(inputs.parts ->> 'language_model') as model,
    count(inputs.shard) = 3 and coalesce(bool_and(json_extract_string(
        decided.metadata ->> 'made_from',
        '$."' || inputs.table_name || ' of ' || inputs.shard || ', ' || inputs.partition || '"'
    ) = inputs.fingerprint), true) as is_whole,
    coalesce(any_value(counted.kept), 0)::bigint as kept
from made as decided
left join made as inputs
    on inputs.table_name in ('documents', 'candidate_calls', 'executed_calls')
    and inputs.shard = decided.shard
    and inputs.partition in (decided.partition, 'all')
left join (
    select
        shard, tool, round,
        sum(calls) filter (where reason = 'kept') as kept,
        concat_ws(' ', '', sum(calls), round(sum(loss_reduction), 2)) as sums
    from decision_counts group by all
) as counted
    on counted.shard = decided.shard and counted.tool = decided.tool and counted.round = decided.round
where decided.table_name = 'filtered_calls'
group by all
