"""The gateway: holds all state and every secret, never runs the agent."""
