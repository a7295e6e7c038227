-- The decision on each scored call of a tool in a round (paper §2, "Filtering API Calls"). Calls of
-- the chance sample are decided again with swapped results.
--
-- Parameters: tool, round, filtering_threshold (τ_f in nats), contrast_threshold (τ_c in nats;
-- NULL, as in the paper, for no contrast). Result: rows of filtered_calls.
--
-- If L⁺ is missing, L(ε) is an upper bound of the reduction, since L⁺ is not negative. If L(e(c,
-- ε)) is missing, L(ε) - L⁺ is an upper bound.
with
scored as (
    select * from scored_calls where tool = $tool and round = $round
),
-- Each call with its own result, and calls of the chance sample also with the swapped result.
judged as (
    select
        call_id,
        false as is_by_chance,
        tokens_used,
        loss_without_call,
        if(baseline = 'without_call', loss_without_call, loss_call_without_result) as loss_alone,
        loss_with_result,
        loss_with_swapped_result - loss_with_result as contrast
    from scored
    union all
    select
        call_id,
        true,
        tokens_used,
        loss_without_call,
        if(baseline = 'without_call', loss_without_call, loss_call_without_result),
        loss_with_swapped_result,
        loss_with_second_swapped_result - loss_with_swapped_result
    from scored
    where is_in_chance_sample
),
reduced as (
    select
        *,
        if(
            tokens_used = 0,
            0,
            -- `least` ignores NULL.
            coalesce(least(loss_without_call, loss_alone) - loss_with_result, loss_without_call)
        ) as loss_reduction,
        isfinite(loss_without_call)
        and coalesce(isfinite(loss_with_result), true)
        and coalesce(isfinite(loss_alone), true) as is_finite
    from judged
),
decided as (
    select
        *,
        case
            when tokens_used = 0 then 'no_text_after_position'
            when not is_finite then 'not_finite'
            when loss_with_result is null then 'loss_without_call_below_lowest_threshold'
            when loss_alone is null then 'bound_below_lowest_threshold'
            when not reaches(loss_reduction, $filtering_threshold) then 'below_threshold'
            when $contrast_threshold is null then 'kept'
            when contrast is null then 'no_swapped_result'
            when not isfinite(contrast) then 'not_finite'
            when reaches(contrast, $contrast_threshold) then 'kept'
            else 'below_contrast'
        end as reason
    from reduced
)
select
    scored.*,
    if(own.reason = 'not_finite', null, own.loss_reduction) as loss_reduction,
    own.contrast,
    own.reason = 'kept' as is_kept,
    own.reason,
    if(by_chance.reason = 'not_finite', null, by_chance.loss_reduction) as chance_reduction,
    by_chance.contrast as chance_contrast,
    if(
        $contrast_threshold is not null and scored.second_swapped_call_id is null,
        null,
        by_chance.reason = 'kept'
    ) as is_kept_by_chance,
    $filtering_threshold::double as filtering_threshold,
    $contrast_threshold::double as contrast_threshold
from scored
inner join decided as own on own.call_id = scored.call_id and not own.is_by_chance
left join decided as by_chance on by_chance.call_id = scored.call_id and by_chance.is_by_chance
order by scored.document_id, scored.window_index, scored.position, scored.call_id
