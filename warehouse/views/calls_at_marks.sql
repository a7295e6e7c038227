-- Sampled calls in texts in which people marked where they calculate, or where a call of the same
-- tool stood, beside these marks.
--
-- A call is *at* a mark where nothing but blanks, equals and currency signs stand between the two,
-- so that the result that a reader sees follows it. It *matches* the mark where, besides, both say
-- the same: their expressions are equal but for blanks, commas, currency signs and the way in which
-- times, divided and minus are written, or the results are numbers not more than 0.005 apart, half
-- of what the Calculator rounds to. Of several marks at its place the first that it matches counts.
--
-- Columns:
--   call_id: id of the call, parsed
--   tool: name of the tool
--   round: sampling round, from 1
--   proposed: what the tool proposed: none, position or call
--   arguments: of the call
--   result: of the tool; NULL without one
--   document_id: text that both stand in
--   is_at_mark: whether the call is at a mark
--   number: number of the mark that it matches, from 0; NULL where it matches none
--   marked_expression: of that mark, else of one that it is at; NULL without one
--   marked_result: likewise
--   loss_reduction: in nats; this and the columns below are NULL for a call that was not scored
--   contrast: in nats; NULL also where it was not needed
--   reason: why it was kept or dropped by the filter
--   is_kept: whether it was kept; false for a call that was not scored
--   filtering_threshold: in nats
--   contrast_threshold: in nats; NULL also where none is in force
--   lowest_threshold: loss reduction below which no further loss was computed, in nats
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
        -- What the Calculator is asked and what people wrote are brought into one form.
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
