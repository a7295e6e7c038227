-- Tokens and seconds per character of text, by tool and table, from shards that had work: those of
-- the round if it has any (without the prompt a round feeds far less), else those of all others.
with
costs as (
    select shard, tool, table_name, round = $round as is_of_round, sum(tokens_fed) as tokens,
        sum(seconds) as seconds
    from cost_counts
    join (select unnest($passes::varchar[]) as stage, unnest($tables::varchar[]) as table_name)
        using (stage)
    where tokens_fed > 0 or candidates > 0
    group by all
),
texts as (select shard, sum(characters) as characters from document_counts group by shard)
select
    tool,
    table_name,
    sum(tokens) / sum(characters) as tokens_per_character,
    sum(seconds) / sum(characters) as seconds_per_character
from costs join texts using (shard)
group by tool, table_name, is_of_round
having sum(characters) > 0
qualify is_of_round or not bool_or(is_of_round) over (partition by tool, table_name)
