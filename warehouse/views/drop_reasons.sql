-- Why rows did not reach the next stage.
--
-- Result: tool, stage (preselection, sampling, execution, filtering), reason, rows, round.
with dropped as (
    select tool, 'preselection' as stage, 1 as stage_order, reason, round
    from document_selection
    where not is_selected
    union all
    select tool, 'sampling', 2, reason, round from candidate_calls where status = 'dropped'
    union all
    select tool, 'execution', 3, reason, round from executed_calls where status = 'failed'
    union all
    select tool, 'filtering', 4, reason, round from filtered_calls where not is_kept
)
select tool, stage, reason, count(*) as rows, round
from dropped
group by tool, round, stage, stage_order, reason
order by round, tool, stage_order, rows desc, reason
