"""The only place that times anything: events, graph replays, clocks, the machine's own limits, production shapes."""
