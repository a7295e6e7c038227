-- How many calls and texts other filtering thresholds would keep.
--
-- Result: tool, filtering_threshold (nats), kept_calls, kept_texts (windows with at least one
-- such call), round. Thresholds: the three of the paper's table 2 and every one that was used in
-- the sampling round. Below the pruning threshold losses are missing, so nothing is shown there.
-- The tolerance is that of the filter itself.
with
tools as (
    select tool, round, max(pruning_threshold) as pruning_threshold
    from filtered_calls
    group by tool, round
),
thresholds as (
    select tool, round, unnest([0.5, 1.0, 2.0])::double as filtering_threshold from tools
    union
    select tool, round, filtering_threshold from filtered_calls
),
scored as (
    select filtered_calls.tool, filtered_calls.round, loss_reduction, document_id, "window"
    from filtered_calls
    left join candidate_calls on candidate_calls.call_id = filtered_calls.call_id
    where
        loss_with_result is not null
        and loss_call_without_result is not null
        and filtered_calls.reason not in ('not_finite', 'no_text_after_position')
)
select
    thresholds.tool,
    thresholds.filtering_threshold,
    count(scored.tool) as kept_calls,
    count(distinct (document_id, "window")) filter (where scored.tool is not null) as kept_texts,
    thresholds.round
from thresholds
inner join tools on tools.tool = thresholds.tool and tools.round = thresholds.round
left join scored
    on scored.tool = thresholds.tool
    and scored.round = thresholds.round
    and scored.loss_reduction >= thresholds.filtering_threshold - 1e-9
where thresholds.filtering_threshold >= tools.pruning_threshold - 1e-9
group by thresholds.round, thresholds.tool, thresholds.filtering_threshold
order by thresholds.round, thresholds.tool, thresholds.filtering_threshold
