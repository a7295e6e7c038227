-- Number of rows per tool that reach each stage.
--
-- A tool with any row in an annotation round has a row for every stage, with 0 if nothing reached it.
--
-- Columns:
--   tool: name of the tool
--   stage: documents (in the shards processed with the tool), preselected (documents that its
--     heuristics select), samples (calls that the model wrote or the tool proposed), candidates
--     (parsed and distinct), executed (answered by the tool), scored (by the loss filter), kept (by
--     the filter), merged (best call of its position among all tools)
--   stage_order: number of the stage, from 1
--   rows: number of documents or calls that reached the stage
--   round: annotation round, from 1
with
counts as (
    select tool, round, 'documents' as stage, documents as rows
    from (
        select shard, tool, round from selection_counts
        union
        select shard, tool, round from candidate_counts
    )
    inner join document_counts using (shard)
    union all
    select tool, round, 'preselected', documents from selection_counts where is_selected
    union all
    select tool, round, 'samples', calls from candidate_counts
    union all
    select tool, round, 'candidates', calls from candidate_counts where status = 'parsed'
    union all
    select tool, round, 'executed', calls from execution_counts where status = 'executed'
    union all
    select tool, round, 'scored', calls from decision_counts
    union all
    select tool, round, 'kept', calls from decision_counts where reason = 'kept'
    union all
    select tool, round, 'merged', calls from merged_counts
),
arrived as (
    select tool, round, stage, sum(rows)::bigint as rows from counts group by all
),
stages (stage, stage_order) as (
    values
        ('documents', 1), ('preselected', 2), ('samples', 3), ('candidates', 4),
        ('executed', 5), ('scored', 6), ('kept', 7), ('merged', 8)
)
select tool, stage, stage_order, coalesce(rows, 0) as rows, round
from (select distinct tool, round from arrived)
cross join stages
left join arrived using (tool, round, stage)
order by round, tool, stage_order
