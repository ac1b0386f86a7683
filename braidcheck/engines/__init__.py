"""Users' engines: the protocol, the process that an engine runs in, and adapters."""
