"""The scripted model: Anthropic's Messages API, played from a scenario instead of a model.

The real Claude Code runs against it through ANTHROPIC_BASE_URL. `make demo` uses it where there
is no key, and the tests use it everywhere. Start it with `python -m runner.scripted`; the format
of a scenario is in `scenario.py`.
"""
