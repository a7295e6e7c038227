-- Settings, tools, texts and questions that differ between models measured on the same benchmark
-- and mode. Settings that belong to a model, or change only last digits, are ignored. Question
-- lists are compared only with lists of the same length, since some models are asked fewer
-- questions.
--
-- Result: benchmark, mode, setting, models (in words).
select
    split_part(partition, '.', 1) as benchmark,
    coalesce(nullif(split_part(partition, '.', 3), ''), 'disabled') as mode,
    setting,
    string_agg(distinct model, ' and ' order by model) as models
from (
    select *, split_part(partition, '.', 2) as model, unnest(json_keys(parts)) as setting
    from partition_metadata
    where table_name = 'evaluation_results'
)
where
    setting in (
        'code_version', 'tool_versions', 'call_top_k', 'held_out_documents', 'file', 'questions'
    )
    or regexp_matches(
        setting, '^(decoding|corpus)\.|\.(today|max_result_tokens|perplexity_windows|seed)$'
    )
group by
    benchmark, mode, setting,
    case when setting = 'questions' then split_part(partition, '.', 4) || (parts ->> 'items') end
having count(distinct parts ->> ('$."' || setting || '"')) > 1
order by all
