-- How many calls lie close to the threshold that decides on them: what a small change would do.
--
-- Columns:
--   tool: name of the tool
--   filtering_threshold: the highest in force, in nats
--   kept: calls that the filter kept
--   kept_within_0_1: calls that reach the threshold by less than 0.1 nats; NULL where it is no
--     multiple of 0.01
--   missed_within_0_1: calls that miss it by at most that; NULL likewise
--   kept_share_of_near: kept_within_0_1 of both; NULL where there is none
--   round: sampling round, from 1
with in_force as (
    select
        tool,
        round,
        max(filtering_threshold) as filtering_threshold,
        coalesce(sum(calls) filter (where reason = 'kept'), 0)::bigint as kept
    from decision_counts
    group by tool, round
),
near as (
    select
        in_force.*,
        threshold_bin(filtering_threshold) as threshold_bin,
        coalesce(sum(calls) filter (where reduction_bin >= threshold_bin(filtering_threshold)), 0)
            as above,
        coalesce(sum(calls) filter (where reduction_bin < threshold_bin(filtering_threshold)), 0)
            as below
    from in_force
    left join loss_reductions
        on loss_reductions.tool = in_force.tool
        and loss_reductions.round = in_force.round
        and abs(reduction_bin - threshold_bin(filtering_threshold) + 0.5) < 10
    group by all
)
select
    tool,
    filtering_threshold,
    kept,
    case when threshold_bin is not null then above end::bigint as kept_within_0_1,
    case when threshold_bin is not null then below end::bigint as missed_within_0_1,
    case when threshold_bin is not null then above / nullif(above + below, 0) end
        as kept_share_of_near,
    round
from near
order by round, tool
