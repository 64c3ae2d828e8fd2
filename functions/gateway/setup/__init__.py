"""The set-up: the GitHub App and the Claude key, by pages that ask for the operator's code."""
