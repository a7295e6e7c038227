-- What there is to export of each round: scored calls, those that are kept, and windows of C*.
with
scored as (
    select
        round,
        sum(calls)::bigint as scored_calls,
        sum(calls) filter (where reason = 'kept')::bigint as kept_calls
    from decision_counts
    group by round
),
texts as (
    select round, sum(texts)::bigint as texts from augmented_counts group by round
)
select
    round,
    coalesce(scored.scored_calls, 0) as scored_calls,
    coalesce(scored.kept_calls, 0) as kept_calls,
    coalesce(texts.texts, 0) as texts
from scored
full join texts using (round)
order by round
