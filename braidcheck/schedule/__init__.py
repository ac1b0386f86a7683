"""Which items a gate run takes, in which order, and how long that lasts."""
