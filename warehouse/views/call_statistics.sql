-- One line per tool and sampling round: what its calls came to and what they cost.
--
-- Result: tool, candidates, executed, scored, kept, kept_texts (windows with at least one kept
-- call), mean_loss_reduction (of the kept calls, nats; NULL where none is kept), tokens_fed,
-- seconds (all stages together), round.
with
tools as (
    select distinct tool, round from document_selection
    union
    select distinct tool, round from candidate_calls
),
candidates as (
    select tool, round, count(*) as candidates from candidate_calls
    where status = 'parsed'
    group by tool, round
),
executed as (
    select tool, round, count(*) as executed from executed_calls
    where status = 'executed'
    group by tool, round
),
filtered as (
    select
        filtered_calls.tool,
        filtered_calls.round,
        count(*) as scored,
        count(*) filter (where is_kept) as kept,
        count(distinct (document_id, window_index)) filter (where is_kept) as kept_texts,
        avg(loss_reduction) filter (where is_kept) as mean_loss_reduction
    from filtered_calls
    left join candidate_calls on candidate_calls.call_id = filtered_calls.call_id
    group by filtered_calls.tool, filtered_calls.round
),
costs as (
    select tool, round, sum(tokens_fed)::bigint as tokens_fed, sum(seconds) as seconds
    from stage_costs
    group by tool, round
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
    coalesce(seconds, 0) as seconds,
    round
from tools
left join candidates using (tool, round)
left join executed using (tool, round)
left join filtered using (tool, round)
left join costs using (tool, round)
order by round, tool
