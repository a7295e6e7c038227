-- Number and length of texts per shard.
--
-- Result: shard, documents, characters.
select shard, count(*) as documents, sum(length(text))::bigint as characters
from documents
group by shard
