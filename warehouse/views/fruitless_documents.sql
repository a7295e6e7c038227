-- How many of the documents that a tool was tried on gave no call that is kept.
--
-- Result: tool, documents (that the tool's heuristics let through), fruitful (with a kept call),
-- fruitless, fruitless_share, round.
with
tried as (
    select tool, round, sum(documents)::bigint as documents from selection_counts
    where is_selected
    group by tool, round
),
fruitful as (
    select tool, round, sum(kept_documents)::bigint as fruitful from kept_counts
    group by tool, round
)
select
    tool,
    documents,
    coalesce(fruitful, 0) as fruitful,
    documents - coalesce(fruitful, 0) as fruitless,
    (documents - coalesce(fruitful, 0)) / documents as fruitless_share,
    round
from tried
left join fruitful using (tool, round)
order by round, tool
