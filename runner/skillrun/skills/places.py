"""Where agents look for skills."""

from __future__ import annotations

from typing import Literal

Agent = Literal["claude-code", "codex", "cursor"]
# Below the home folder or a project. Codex reads the folder that several agents share.
PLACES: dict[Agent, str] = {"claude-code": ".claude/skills", "codex": ".agents/skills", "cursor": ".cursor/skills"}
