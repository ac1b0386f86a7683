"""What was seen when an op or a model ran: plain data, which gates judge."""
