-- Tokens and seconds per character of text, by tool and table, in shards in which the tool had
-- work. Shards of the round are used if there are any, otherwise those of all other rounds: a round
-- without the prompt feeds far fewer tokens.
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
