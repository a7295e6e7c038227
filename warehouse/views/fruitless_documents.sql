-- How many of the documents that a tool was tried on gave no call that is kept.
--
-- Columns:
--   tool: name of the tool
--   documents: documents that the tool's heuristics let through
--   fruitful: of these, with a kept call
--   fruitless: of these, without one
--   fruitless_share: fruitless of documents
--   round: sampling round, from 1
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
