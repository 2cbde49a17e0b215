"""The agent's door: a few typed tools over the runner, their schemas, and bounded work behind them.

``tool`` says what a tool is; ``bank``, ``planning``, ``watching`` and ``checks`` hold the tools; ``tools`` lists and
calls them; ``dialects`` writes their schemas for MCP, OpenAI and Anthropic; ``jobs`` lets slow work outlive a call.
"""
