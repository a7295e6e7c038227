-- Perplexity of the held-out texts of each source, and of each text file, under the models of
-- $models, calls disabled, and how much larger than under $plain it is.
--
-- Result: source, model, windows, tokens, perplexity, increase_over_plain (a share).
with windows as (
    select
        -- The item of a held-out text is its document and the number of its window.
        coalesce(parse_filename(documents.source), benchmark) as source,
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
        source,
        model,
        count(*) as windows,
        sum(score_weight)::bigint as tokens,
        exp(sum(score * score_weight) / sum(score_weight)) as perplexity
    from windows
    group by source, model
)

select
    measured.source,
    measured.model,
    measured.windows,
    measured.tokens,
    measured.perplexity,
    measured.perplexity / plain.perplexity - 1 as increase_over_plain
from measured
left join measured as plain on measured.source = plain.source and plain.model = $plain
order by measured.source, list_position($models, measured.model)
