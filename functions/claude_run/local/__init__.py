"""Everything on one machine: the services as processes, started, watched and ended together."""
