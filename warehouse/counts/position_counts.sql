-- Where in their window the scored calls of each shard stand.
--
-- Result: shard, tool, round, first_position (of 32 tokens), scored, kept.
select
    shard, tool, round,
    (position // 32 * 32)::integer as first_position,
    count(*) as scored,
    count(*) filter (where is_kept) as kept
from filtered_calls
group by all
