-- What there is to export of each round: documents with scored calls, calls, and windows of C*.
with scored as (
    select round, count(*) as scored_calls, count(*) filter (is_kept) as kept_calls
    from filtered_calls
    group by round
),
texts as (
    select round, count(*) as texts, sum(len(calls)) as merged_calls
    from augmented_texts
    group by round
)
select
    round,
    coalesce(scored.scored_calls, 0) as scored_calls,
    coalesce(scored.kept_calls, 0) as kept_calls,
    coalesce(texts.texts, 0) as texts,
    coalesce(texts.merged_calls, 0) as merged_calls
from scored full join texts using (round)
order by round
