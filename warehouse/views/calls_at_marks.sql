-- Sampled calls in texts with annotations (`text_marks`), compared with these annotations.
--
-- Texts count if they had calculations, or calls of the same tool, when they were read. A call is
-- *at* an annotation if only blanks, equals signs and currency signs are between the two. It
-- *matches* the annotation if, in addition, the expressions or the results agree. Expressions agree
-- if they are equal apart from blanks, commas, currency signs and the spelling of the operators
-- times, divided and minus. Results agree if they are numbers at most 0.005 apart, half of the last
-- digit to which the Calculator rounds. If there are several annotations, the first match counts.
--
-- Columns:
--   call_id: id of the parsed call
--   tool: name of the tool
--   round: annotation round, from 1
--   proposed: what the tool proposed: none, position or call
--   arguments: arguments of the call
--   result: result of the tool; NULL if there is none
--   document_id: text that contains the call
--   is_at_mark: whether the call is at an annotation
--   number: number of the annotation that the call matches, from 0; NULL if it matches none
--   marked_expression: expression of that annotation, or else of one that the call is at; NULL if
--     there is none
--   marked_result: result of the same annotation
--   loss_reduction: loss reduction in nats; NULL, like all columns below except is_kept, if the
--     call was not scored
--   contrast: contrast in nats; NULL if not needed
--   reason: reason why the filter kept or dropped the call
--   is_kept: whether the filter kept the call; false if it was not scored
--   filtering_threshold: smallest loss reduction that keeps a call, in nats
--   contrast_threshold: smallest contrast that keeps a call, in nats; NULL if none is required
--   lowest_threshold: loss reduction below which further losses were not computed, in nats
with
marks as (
    select
        document_id,
        shard,
        number,
        character_offset as mark_offset,
        expression,
        result,
        called_tool,
        -- Normalises arguments of the Calculator and expressions of annotations alike.
        translate(
            lower(regexp_replace(expression, '[\s,$€£]', '', 'g')), 'x×·⋅÷−–', '****/--'
        ) as said,
        try_cast(regexp_replace(result, '[\s,$€£%]', '', 'g') as double) as comes_to
    from text_marks
),
calls as (
    select
        call_id,
        shard,
        tool,
        round,
        document_id,
        character_offset,
        arguments,
        translate(
            lower(regexp_replace(arguments, '[\s,$€£]', '', 'g')), 'x×·⋅÷−–', '****/--'
        ) as said,
        result,
        try_cast(result as double) as comes_to,
        proposed,
        loss_reduction,
        contrast,
        case when filtering_threshold is not null then reason end as reason,
        is_kept,
        filtering_threshold,
        contrast_threshold,
        lowest_threshold
    from all_calls
    semi join text_marks
        on text_marks.document_id = all_calls.document_id
        and text_marks.shard = all_calls.shard
        and coalesce(text_marks.called_tool, all_calls.tool) = all_calls.tool
    where dropped_by is distinct from 'sampling'
),
pairs as (
    select
        calls.call_id,
        marks.number,
        marks.expression,
        marks.result,
        calls.said = marks.said
        or coalesce(abs(calls.comes_to - marks.comes_to) <= 0.005 + 1e-9, false) as is_same
    from calls
    inner join marks
        on marks.document_id = calls.document_id
        and marks.shard = calls.shard
        and coalesce(marks.called_tool, calls.tool) = calls.tool
        and abs(marks.mark_offset - calls.character_offset) <= 8
    inner join documents
        on documents.document_id = calls.document_id and documents.shard = calls.shard
    where regexp_full_match(
        substring(
            documents.text,
            least(marks.mark_offset, calls.character_offset) + 1,
            abs(marks.mark_offset - calls.character_offset)
        ),
        '[\s=$€£]*'
    )
),
nearest as (
    select *
    from pairs
    qualify row_number() over (partition by call_id order by not is_same, number) = 1
)
select
    call_id,
    tool,
    round,
    calls.proposed,
    calls.arguments,
    calls.result,
    document_id,
    nearest.call_id is not null as is_at_mark,
    case when nearest.is_same then nearest.number end as number,
    nearest.expression as marked_expression,
    nearest.result as marked_result,
    loss_reduction,
    contrast,
    calls.reason,
    is_kept,
    filtering_threshold,
    contrast_threshold,
    lowest_threshold
from calls
left join nearest using (call_id)
