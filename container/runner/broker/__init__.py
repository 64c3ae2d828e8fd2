"""The broker: the only thing in the runner that holds a credential, and what it lets through."""
