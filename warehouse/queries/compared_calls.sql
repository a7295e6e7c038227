-- The calls that two homes keep, and why the other does not keep what only one keeps. Each table has
-- the rows of both, with `home`, 1 or 2; `compared_partitions` (home, shard, tool) names what is
-- compared. A call is the same where text, place, tool and arguments are: samples can have other
-- numbers, and windows other lengths. Parameter: tolerance, up to which losses are the same (nats).
--
-- Result, besides columns of the call (of the first home where both keep it): kept_by (both, first,
-- second); why: text (the other has no such text, or no calls of the tool in it), candidate (it did
-- not sample the call, or dropped it before a tool was asked), result (its tool gave another, or
-- failed), threshold (same losses, another threshold or baseline) or losses; other_reason: why the
-- other dropped it, or not_sampled; other_result, other_loss_reduction, other_filtering_threshold.
with kept as (
    select filtered_calls.*, character_offset, arguments, result
    from filtered_calls
    inner join candidate_calls using (home, call_id)
    inner join executed_calls using (home, call_id)
    where is_kept
)
select
    kept.home, kept.shard, kept.tool, kept.call_id, kept.document_id, kept.character_offset,
    kept.arguments, kept.result, kept.loss_reduction, kept.filtering_threshold,
    case when decided.is_kept then 'both' when kept.home = 1 then 'first' else 'second' end as kept_by,
    case
        when decided.is_kept then null
        when candidates.call_id is null and not exists (
            select 1 from documents
            inner join compared_partitions as compared using (home, shard)
            where
                documents.home <> kept.home
                and documents.document_id = kept.document_id
                and compared.tool = kept.tool
        ) then 'text'
        -- One that peeks is dropped without asking the tool.
        when executed.call_id is null or executed.reason is not distinct from 'peeks' then 'candidate'
        when executed.result is distinct from kept.result then 'result'
        when
            row(decided.filtering_threshold, decided.contrast_threshold, decided.baseline)
            is distinct from row(kept.filtering_threshold, kept.contrast_threshold, kept.baseline)
            -- Leaves out a loss that was not needed, which is NULL.
            and greatest(
                abs(decided.loss_without_call - kept.loss_without_call),
                abs(decided.loss_call_without_result - kept.loss_call_without_result),
                abs(decided.loss_with_result - kept.loss_with_result),
                case
                    when kept.contrast_threshold + decided.contrast_threshold is not null
                        then abs(decided.contrast - kept.contrast)
                end
            ) <= $tolerance
            then 'threshold'
        else 'losses'
    end as why,
    coalesce(decided.reason, executed.reason, candidates.reason, 'not_sampled') as other_reason,
    executed.result as other_result,
    decided.loss_reduction as other_loss_reduction,
    decided.filtering_threshold as other_filtering_threshold
from kept
left join candidate_calls as candidates
    on candidates.home <> kept.home
    and candidates.document_id = kept.document_id
    and candidates.character_offset = kept.character_offset
    and candidates.tool = kept.tool
    and candidates.arguments = kept.arguments
    and candidates.reason is distinct from 'duplicate'
left join executed_calls as executed
    on executed.home = candidates.home and executed.call_id = candidates.call_id
left join filtered_calls as decided
    on decided.home = candidates.home and decided.call_id = candidates.call_id
where kept.home = 1 or decided.is_kept is distinct from true
