-- Number of characters in the texts of each shard.
select shard, sum(characters)::bigint as characters
from document_counts
group by shard
