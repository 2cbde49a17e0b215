"""The actions of the container's command."""
