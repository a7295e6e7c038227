-- How long the texts of each shard are.
select shard, sum(length(text)) as characters
from documents
group by shard
