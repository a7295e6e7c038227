"""What the filter of the engine and the SQL of the warehouse must agree on."""

# An exact tie counts as reaching the threshold, but float64 can land a hair below it.
THRESHOLD_TOLERANCE = 1e-9
# The thresholds that the statistics always show (paper, table 2), in nats, in rising order.
SWEEP_THRESHOLDS = (0.5, 1.0, 2.0)
