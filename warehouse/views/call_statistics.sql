-- One line per tool: what its calls came to and what they cost.
--
-- Result: tool, candidates, executed, scored, kept, kept_texts (windows with at least one kept
-- call), mean_loss_reduction (of the kept calls, nats; NULL where none is kept), tokens_fed,
-- seconds (all stages together).
with
tools as (
    select distinct tool from document_selection
    union
    select distinct tool from candidate_calls
),
candidates as (
    select tool, count(*) as candidates from candidate_calls
    where status = 'parsed'
    group by tool
),
executed as (
    select tool, count(*) as executed from executed_calls
    where status = 'executed'
    group by tool
),
filtered as (
    select
        filtered_calls.tool,
        count(*) as scored,
        count(*) filter (where is_kept) as kept,
        count(distinct (document_id, "window")) filter (where is_kept) as kept_texts,
        avg(loss_reduction) filter (where is_kept) as mean_loss_reduction
    from filtered_calls
    left join candidate_calls on candidate_calls.call_id = filtered_calls.call_id
    group by filtered_calls.tool
),
costs as (
    select tool, sum(tokens_fed)::bigint as tokens_fed, sum(seconds) as seconds
    from stage_costs
    group by tool
)
select
    tool,
    coalesce(candidates, 0) as candidates,
    coalesce(executed, 0) as executed,
    coalesce(scored, 0) as scored,
    coalesce(kept, 0) as kept,
    coalesce(kept_texts, 0) as kept_texts,
    mean_loss_reduction,
    coalesce(tokens_fed, 0) as tokens_fed,
    coalesce(seconds, 0) as seconds
from tools
left join candidates using (tool)
left join executed using (tool)
left join filtered using (tool)
left join costs using (tool)
order by tool
