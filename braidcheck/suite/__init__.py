"""The gates as pytest items: each runs an op or the model, hands what was seen to a gate and returns its verdict."""
