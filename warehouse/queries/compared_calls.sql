-- The kept calls of two homes, and why the other one does not keep a call that only one keeps. Each
-- table has the rows of both, with `home`, 1 or 2. A call is the same where text, place, tool and
-- arguments are: samples may have other numbers, and windows other lengths.
--
-- `compared_partitions` (home, shard, tool): those of both homes whose rows are compared.
-- Parameter: tolerance, up to which losses are the same, in nats.
--
-- Result: a row for each call: home (that keeps it; 1 for both), is_in_both, shard, tool, call_id,
-- document_id, character_offset, arguments, result, loss_reduction, filtering_threshold; and where
-- only one keeps it
--   why: text (the other home has no such text, or no calls of the tool in it), candidate (it did not
--     sample the call, or dropped it before a tool was asked), result (its tool gave another, or
--     failed), threshold (same losses, another threshold or baseline) or losses
--   reason: why the other home dropped it, or not_sampled; NULL for a text that it has not
--   other_result, other_loss_reduction, other_filtering_threshold: of the other home
with
kept as materialized (
    select
        home, call_id, shard, tool, document_id, loss_without_call, loss_call_without_result,
        loss_with_result, loss_reduction, contrast, filtering_threshold, contrast_threshold, baseline
    from filtered_calls
    where is_kept
),
placed as materialized (
    select kept.*, candidate_calls.character_offset, candidate_calls.arguments, executed_calls.result
    from candidate_calls
    inner join kept using (home, call_id)
    inner join executed_calls using (home, call_id)
),
matched as materialized (
    select
        *,
        exists (
            select 1
            from placed as other
            where
                other.home <> placed.home
                and other.document_id = placed.document_id
                and other.character_offset = placed.character_offset
                and other.tool = placed.tool
                and other.arguments = placed.arguments
        ) as is_in_both
    from placed
),
alone as materialized (
    select * from matched where not is_in_both
),
-- Of equal samples at a place all but one are dropped, as duplicates.
met as materialized (
    select
        alone.home,
        alone.call_id,
        other.call_id as other_id,
        other.reason
    from candidate_calls as other
    inner join alone
        on other.home <> alone.home
        and other.document_id = alone.document_id
        and other.character_offset = alone.character_offset
        and other.tool = alone.tool
        and other.arguments = alone.arguments
    qualify row_number() over (
        partition by alone.home, alone.call_id
        order by other.reason is not null, other.sample_index
    ) = 1
),
annotated as (
    select documents.home, document_id, tool
    from documents
    inner join compared_partitions using (home, shard)
    where document_id in (select document_id from alone)
)
select
    alone.home,
    false as is_in_both,
    alone.shard,
    alone.tool,
    alone.call_id,
    alone.document_id,
    alone.character_offset,
    alone.arguments,
    alone.result,
    alone.loss_reduction,
    alone.filtering_threshold,
    case
        when annotated.document_id is null then 'text'
        -- One that peeks is dropped without asking the tool.
        when executed.call_id is null or executed.peeks and executed.result is null then 'candidate'
        when executed.result is distinct from alone.result then 'result'
        when
            row(decided.filtering_threshold, decided.contrast_threshold, decided.baseline)
            is distinct from row(alone.filtering_threshold, alone.contrast_threshold, alone.baseline)
            -- A loss that was not needed is missing.
            and coalesce(abs(decided.loss_without_call - alone.loss_without_call) <= $tolerance, true)
            and coalesce(
                abs(decided.loss_call_without_result - alone.loss_call_without_result) <= $tolerance,
                true
            )
            and coalesce(abs(decided.loss_with_result - alone.loss_with_result) <= $tolerance, true)
            and coalesce(
                decided.contrast_threshold is null
                or alone.contrast_threshold is null
                or abs(decided.contrast - alone.contrast) <= $tolerance,
                true
            )
            then 'threshold'
        else 'losses'
    end as why,
    if(
        annotated.document_id is not null,
        coalesce(decided.reason, executed.reason, met.reason, 'not_sampled'),
        null
    ) as reason,
    executed.result as other_result,
    decided.loss_reduction as other_loss_reduction,
    decided.filtering_threshold as other_filtering_threshold
from alone
left join annotated
    on annotated.home <> alone.home
    and annotated.document_id = alone.document_id
    and annotated.tool = alone.tool
left join met on met.home = alone.home and met.call_id = alone.call_id
left join executed_calls as executed
    on executed.home <> alone.home and executed.call_id = met.other_id
left join filtered_calls as decided
    on decided.home <> alone.home and decided.call_id = met.other_id
union all by name
select
    home, is_in_both, shard, tool, call_id, document_id, character_offset, arguments, result,
    loss_reduction, filtering_threshold
from matched
where is_in_both and home = 1
