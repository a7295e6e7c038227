-- Texts of each shard that a tool's heuristics looked at, by what came of it.
--
-- Result: shard, tool, round, is_selected, reason, documents.
select shard, tool, round, is_selected, reason, count(*) as documents
from document_selection
group by all
