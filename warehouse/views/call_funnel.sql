-- How many rows of each tool reach each stage.
--
-- Result: tool, stage, stage_order (1 = first), rows, round. Every tool that has any row in a
-- sampling round has all stages there, with 0 where nothing arrived.
--   documents    documents of the shards that the tool was run on
--   preselected  of these, documents that the tool's heuristics let through
--   samples      calls that the model wrote
--   candidates   of these, parsed and distinct
--   executed     of these, answered by the tool
--   scored       of these, given to the loss filter
--   kept         of these, kept by the filter
--   merged       of these, the winner of its position among all tools
with
tool_shards as (
    select tool, round, shard from document_selection
    union
    select tool, round, shard from candidate_calls
),
counts as (
    select tool, round, 'documents' as stage, count(*) as rows
    from tool_shards inner join documents using (shard)
    group by tool, round
    union all
    select tool, round, 'preselected', count(*) from document_selection
    where is_selected
    group by tool, round
    union all
    select tool, round, 'samples', count(*) from candidate_calls group by tool, round
    union all
    select tool, round, 'candidates', count(*) from candidate_calls
    where status = 'parsed'
    group by tool, round
    union all
    select tool, round, 'executed', count(*) from executed_calls
    where status = 'executed'
    group by tool, round
    union all
    select tool, round, 'scored', count(*) from filtered_calls group by tool, round
    union all
    select tool, round, 'kept', count(*) from filtered_calls where is_kept group by tool, round
    union all
    select call.tool, round, 'merged', count(*)
    from (select round, unnest(calls) as call from augmented_texts)
    group by call.tool, round
),
stages (stage, stage_order) as (
    values
        ('documents', 1), ('preselected', 2), ('samples', 3), ('candidates', 4),
        ('executed', 5), ('scored', 6), ('kept', 7), ('merged', 8)
)
select
    tools.tool,
    stages.stage,
    stages.stage_order,
    coalesce(counts.rows, 0)::bigint as rows,
    tools.round
from (select distinct tool, round from counts) as tools
cross join stages
left join counts
    on counts.tool = tools.tool
    and counts.round = tools.round
    and counts.stage = stages.stage
order by tools.round, tools.tool, stages.stage_order
