-- One line per tool and sampling round: what its calls came to and what they cost.
--
-- Columns:
--   tool: name of the tool
--   candidates: parsed and distinct calls
--   executed: of these, answered by the tool
--   scored: of these, given to the loss filter
--   kept: of these, kept by it
--   kept_by_model: of these, whose arguments the model wrote; those of the others are a proposal of
--     the tool (call_proposals)
--   peeking_share: share of the candidates whose arguments hold a number or a name that stands only
--     behind the call; NULL where none was to be executed
--   kept_texts: windows with at least one kept call
--   mean_loss_reduction: mean over the kept calls, in nats; NULL where none is kept
--   tokens_fed: tokens that the model read, in all stages
--   seconds: time of all stages
--   round: sampling round, from 1
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
