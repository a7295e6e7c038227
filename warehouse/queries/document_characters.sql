-- How long the texts of each shard are.
select shard, sum(characters)::bigint as characters
from document_counts
group by shard
