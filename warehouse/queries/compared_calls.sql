-- The calls that at least one of two homes keeps, and why the other home does not keep a call. Each
-- table has the rows of both, with `home` 1 or 2; `compared_partitions` (home, shard, tool) lists
-- what is compared. Two calls are the same if text, offset, tool and arguments are equal. Sample
-- numbers and window lengths may differ.
--
-- Result: columns of the call (of the first home if both keep it); kept_by (both, first, second);
-- why: text (the other home lacks the text, or calls of the tool in it), candidate (it did not
-- sample the call, or dropped it before a tool was asked), result (its tool gave another result, or
-- failed), threshold (same losses, another threshold or baseline) or losses; other_reason: why the
-- other home dropped it, or not_sampled; other_result, other_loss_reduction,
-- other_filtering_threshold.
--
-- Temporary tables tell DuckDB how few rows each next step joins. Losses of equal calls differ by
-- less than 1e-4 nats between two engines.
create temp table kept as
select
    home, shard, tool, call_id, document_id, loss_without_call, loss_call_without_result,
    loss_with_result, loss_reduction, contrast, filtering_threshold, contrast_threshold, baseline
from filtered_calls
where is_kept;

-- Documents of an edited source can have the same id and another text.
create temp table edited as
select document_id from documents group by document_id having count(distinct md5(text)) > 1;

create temp table placed as
select
    kept.*, character_offset, arguments,
    kept.document_id in (select document_id from edited) as is_edited
from candidate_calls
inner join kept using (home, call_id);

create temp table met as
select
    placed.*, candidates.home as other_home, candidates.call_id as other_id,
    candidates.reason as other_sampling
from candidate_calls as candidates
right join placed
    on not placed.is_edited
    and candidates.home <> placed.home
    and candidates.document_id = placed.document_id
    and candidates.character_offset = placed.character_offset
    and candidates.tool = placed.tool
    and candidates.arguments = placed.arguments
    -- Keep each call once: invalid arguments are recorded for every sample.
    and coalesce(candidates.reason, '') not in ('duplicate', 'invalid_arguments');

create temp table executed as
select home, call_id, result, reason
from executed_calls
semi join (select home, call_id from met union select other_home, other_id from met) as asked
    using (home, call_id);

create temp table compared_calls as
select
    kept.home, kept.shard, kept.tool, kept.call_id, kept.document_id, kept.character_offset,
    kept.arguments, own.result, kept.loss_reduction, kept.filtering_threshold,
    case when decided.is_kept then 'both' when kept.home = 1 then 'first' else 'second' end as kept_by,
    case
        when decided.is_kept then null
        when other_id is null and (is_edited or not exists (
            select 1 from documents
            inner join compared_partitions as compared using (home, shard)
            where
                documents.home <> kept.home
                and documents.document_id = kept.document_id
                and compared.tool = kept.tool
        )) then 'text'
        -- A call that peeks is dropped without asking the tool.
        when executed.call_id is null or executed.reason is not distinct from 'peeks' then 'candidate'
        when executed.result is distinct from own.result then 'result'
        when
            row(decided.filtering_threshold, decided.contrast_threshold, decided.baseline)
            is distinct from row(kept.filtering_threshold, kept.contrast_threshold, kept.baseline)
            -- `greatest` ignores NULL, the value of a loss that was not needed.
            and greatest(
                abs(decided.loss_without_call - kept.loss_without_call),
                abs(decided.loss_call_without_result - kept.loss_call_without_result),
                abs(decided.loss_with_result - kept.loss_with_result),
                case
                    when kept.contrast_threshold + decided.contrast_threshold is not null
                        then abs(decided.contrast - kept.contrast)
                end
            ) <= 1e-4
            then 'threshold'
        else 'losses'
    end as why,
    coalesce(decided.reason, executed.reason, other_sampling, 'not_sampled') as other_reason,
    executed.result as other_result,
    decided.loss_reduction as other_loss_reduction,
    decided.filtering_threshold as other_filtering_threshold
from filtered_calls as decided
right join met as kept on decided.home = other_home and decided.call_id = other_id
left join executed on executed.home = other_home and executed.call_id = other_id
left join executed as own on own.home = kept.home and own.call_id = kept.call_id
where kept.home = 1 or decided.is_kept is distinct from true
