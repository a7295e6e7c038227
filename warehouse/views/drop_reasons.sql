-- Number of documents and calls that did not reach the next stage, by reason.
--
-- Columns:
--   tool: name of the tool
--   stage: stage that dropped them: preselection, sampling, execution or filtering
--   reason: reason, one snake_case word
--   rows: number of documents (preselection) or calls (other stages)
--   round: annotation round, from 1
with dropped as (
    select tool, 'preselection' as stage, 1 as stage_order, reason, documents as rows, round
    from selection_counts
    where not is_selected
    union all
    select tool, 'sampling', 2, reason, calls, round from candidate_counts
    where status = 'dropped'
    union all
    select tool, 'execution', 3, reason, calls, round from execution_counts
    where status = 'failed'
    union all
    select tool, 'filtering', 4, reason, calls, round from decision_counts where reason <> 'kept'
)
select tool, stage, reason, sum(rows)::bigint as rows, round
from dropped
group by tool, round, stage, stage_order, reason
order by round, tool, stage_order, rows desc, reason
