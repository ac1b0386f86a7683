"""All timing code: decode, prefill and single ops against their baselines, with clocks and the roofline."""

BRAIDCHECK = "braidcheck"
