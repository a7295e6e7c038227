-- Perplexity of the models in $models on held-out texts per source and on each text file, with calls
-- disabled, and its increase over the perplexity of $plain.
--
-- Result: source, model, windows, tokens, perplexity, increase_over_plain (a share).
with windows as (
    select
        benchmark,
        -- The item id of a held-out text is the document id and the window number.
        coalesce(documents.source, benchmark) as file,
        model,
        score,
        score_weight
    from evaluation_results
    left join documents
        on
            evaluation_results.benchmark = 'perplexity'
            and regexp_replace(evaluation_results.item_id, '-[0-9]+$', '') = documents.document_id
    where metric = 'perplexity' and score is not null and list_contains($models, model)
),

measured as (
    select
        benchmark,
        file,
        model,
        count(*) as windows,
        sum(score_weight)::bigint as tokens,
        exp(sum(score * score_weight) / sum(score_weight)) as perplexity
    from windows
    group by benchmark, file, model
)

select
    -- Files with the same name are distinguished by their folders.
    if(
        count(distinct file) over (partition by parse_filename(file)) > 1,
        file,
        parse_filename(file)
    ) as source,
    measured.model,
    measured.windows,
    measured.tokens,
    measured.perplexity,
    measured.perplexity / plain.perplexity - 1 as increase_over_plain
from measured
left join (from measured where model = $plain) as plain using (benchmark, file)
order by source, list_position($models, measured.model)
