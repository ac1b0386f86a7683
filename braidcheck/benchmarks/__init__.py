"""The one place that times anything: decode, prefill and single ops beside their baselines, clocks and the roofline."""

BRAIDCHECK = "braidcheck"
