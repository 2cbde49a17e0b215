"""Skills for agents (`skills/<name>/SKILL.md`): finding and reading them, and judging whether they can be followed."""
