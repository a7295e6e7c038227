-- How long the texts of each shard are, from the texts: nothing is remembered in the warehouse.
select shard, sum(length(text))::bigint as characters
from documents
group by shard
