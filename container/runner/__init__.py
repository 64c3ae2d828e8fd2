"""The runner: executes Claude Code for one request and keeps nothing."""
