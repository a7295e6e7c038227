-- Number of documents per shard, tool, round and decision of the tool's heuristics.
--
-- Result: shard, tool, round, is_selected, reason, documents.
select shard, tool, round, is_selected, reason, count(*) as documents
from document_selection
group by all
