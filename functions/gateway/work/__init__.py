"""Work that was accepted and nobody waits for: issues and detached sessions, each done once."""
