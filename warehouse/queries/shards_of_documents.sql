-- The shards that some texts are in.
--
-- Parameter: document_ids.
select distinct shard
from documents
where list_contains($document_ids, document_id)
