-- Number, loss reduction and cost of calls per tool and annotation round.
--
-- Columns:
--   tool: name of the tool
--   candidates: number of parsed and distinct calls
--   executed: number of these that the tool answered
--   scored: number of these that were scored by the loss filter
--   kept: number of these that the filter kept
--   kept_by_model: number of kept calls whose arguments the model wrote; the tool proposed the
--     arguments of the others (call_proposals)
--   peeking_share: share of candidates whose arguments contain a number or name that the text has
--     only after the call; NULL if no call was due for execution
--   kept_texts: number of windows with at least one kept call
--   mean_loss_reduction: mean loss reduction of kept calls, in nats; NULL if none was kept
--   tokens_fed: number of tokens fed to the model, in all stages
--   seconds: time of all stages, in seconds
--   round: annotation round, from 1
with
tools as (
    select tool, round from selection_counts
    union
    select tool, round from candidate_counts
),
candidates as (
    select tool, round, sum(calls)::bigint as candidates from candidate_counts
    where status = 'parsed'
    group by tool, round
),
executed as (
    select
        tool,
        round,
        coalesce(sum(calls) filter (where peeks), 0) / sum(calls) as peeking_share,
        coalesce(sum(calls) filter (where status = 'executed'), 0)::bigint as executed
    from execution_counts
    group by tool, round
),
decided as (
    select
        tool,
        round,
        sum(calls)::bigint as scored,
        coalesce(sum(calls) filter (where reason = 'kept'), 0)::bigint as kept,
        coalesce(sum(calls) filter (where reason = 'kept' and proposed <> 'call'), 0)::bigint
            as kept_by_model,
        sum(loss_reduction) / sum(calls) filter (where reason = 'kept') as mean_loss_reduction
    from decision_counts
    group by tool, round
),
texts as (
    select tool, round, sum(kept_texts)::bigint as kept_texts from kept_counts group by tool, round
),
costs as (
    select tool, round, sum(tokens_fed)::bigint as tokens_fed, sum(seconds) as seconds
    from cost_counts
    group by tool, round
)
select
    tool,
    coalesce(candidates, 0) as candidates,
    coalesce(executed, 0) as executed,
    coalesce(scored, 0) as scored,
    coalesce(kept, 0) as kept,
    coalesce(kept_by_model, 0) as kept_by_model,
    peeking_share,
    coalesce(kept_texts, 0) as kept_texts,
    mean_loss_reduction,
    coalesce(tokens_fed, 0) as tokens_fed,
    coalesce(seconds, 0) as seconds,
    round
from tools
left join candidates using (tool, round)
left join executed using (tool, round)
left join decided using (tool, round)
left join texts using (tool, round)
left join costs using (tool, round)
order by round, tool
