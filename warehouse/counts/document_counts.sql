-- Texts of each shard.
--
-- Result: shard, documents, characters.
select shard, count(*) as documents, sum(length(text))::bigint as characters
from documents
group by shard
