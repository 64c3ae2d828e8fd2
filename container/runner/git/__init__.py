"""Everything git: a clone before the agent starts, change sets while and after it works.

Authenticated git runs only in a directory that no agent has touched, and no git at all runs in
one that an agent has: the base commit's tree is kept in memory, and the work tree is compared
with it by reading files, never through the repository that the agent can write to.
"""
