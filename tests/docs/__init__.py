"""README, documentation pages and service files: they say what is true, and their examples run."""
