-- How many rows of each tool reach each stage.
--
-- Result: tool, stage, stage_order (1 = first), rows. Every tool that has any row has all
-- stages, with 0 where nothing arrived.
--   documents    documents of the shards that the tool was run on
--   preselected  of these, documents that the tool's heuristics let through
--   samples      calls that the model wrote
--   candidates   of these, parsed and distinct
--   executed     of these, answered by the tool
--   scored       of these, given to the loss filter
--   kept         of these, with a loss reduction of at least the filtering threshold
--   merged       of these, the winner of its position among all tools
with
tool_shards as (
    select tool, shard from document_selection
    union
    select tool, shard from candidate_calls
),
counts as (
    select tool, 'documents' as stage, count(*) as rows
    from tool_shards inner join documents using (shard)
    group by tool
    union all
    select tool, 'preselected', count(*) from document_selection where is_selected group by tool
    union all
    select tool, 'samples', count(*) from candidate_calls group by tool
    union all
    select tool, 'candidates', count(*) from candidate_calls
    where status = 'parsed'
    group by tool
    union all
    select tool, 'executed', count(*) from executed_calls
    where status = 'executed'
    group by tool
    union all
    select tool, 'scored', count(*) from filtered_calls group by tool
    union all
    select tool, 'kept', count(*) from filtered_calls where is_kept group by tool
    union all
    select call.tool, 'merged', count(*)
    from (select unnest(calls) as call from augmented_texts)
    group by call.tool
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
    coalesce(counts.rows, 0)::bigint as rows
from (select distinct tool from counts) as tools
cross join stages
left join counts on counts.tool = tools.tool and counts.stage = stages.stage
order by tools.tool, stages.stage_order
