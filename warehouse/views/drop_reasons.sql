-- Why rows did not reach the next stage.
--
-- Result: tool, stage (preselection, sampling, execution, filtering), reason, rows.
with dropped as (
    select tool, 'preselection' as stage, 1 as stage_order, reason
    from document_selection
    where not is_selected
    union all
    select tool, 'sampling', 2, reason from candidate_calls where status = 'dropped'
    union all
    select tool, 'execution', 3, reason from executed_calls where status = 'failed'
    union all
    select tool, 'filtering', 4, reason from filtered_calls where not is_kept
)
select tool, stage, reason, count(*) as rows
from dropped
group by tool, stage, stage_order, reason
order by tool, stage_order, rows desc, reason
