-- Position of each shard's first call in the random order in which people judge calls.
--
-- Result: shard, tool, round, first_draw (the lowest digest; see `calls_to_label.sql`).
select shard, call.tool, round, min(md5(call.call_id)) as first_draw
from (select shard, round, unnest(calls) as call from augmented_texts)
group by all
