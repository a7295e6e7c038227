-- How many rows of each tool reach each stage, in each shard; only what arrived.
--
-- Columns:
--   shard: key of the shard
--   tool: name of the tool
--   stage: as in call_funnel
--   stage_order: place of the stage, from 1
--   rows: documents or calls that reached it
--   round: sampling round, from 1
with counts as (
    select shard, tool, round, 'documents' as stage, documents as rows
    from (
        select shard, tool, round from selection_counts
        union
        select shard, tool, round from candidate_counts
    )
    inner join document_counts using (shard)
    union all
    select shard, tool, round, 'preselected', documents from selection_counts where is_selected
    union all
    select shard, tool, round, 'samples', calls from candidate_counts
    union all
    select shard, tool, round, 'candidates', calls from candidate_counts where status = 'parsed'
    union all
    select shard, tool, round, 'executed', calls from execution_counts where status = 'executed'
    union all
    select shard, tool, round, 'scored', calls from decision_counts
    union all
    select shard, tool, round, 'kept', calls from decision_counts where reason = 'kept'
    union all
    select shard, tool, round, 'merged', calls from merged_counts
),
stages (stage, stage_order) as (
    values
        ('documents', 1), ('preselected', 2), ('samples', 3), ('candidates', 4),
        ('executed', 5), ('scored', 6), ('kept', 7), ('merged', 8)
)
select shard, tool, stage, stage_order, sum(rows)::bigint as rows, round
from counts
inner join stages using (stage)
group by shard, tool, round, stage, stage_order
order by round, tool, shard, stage_order
