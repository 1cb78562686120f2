"""Photos of kinds that a model never learned: grouped into candidate classes, looked at, and named."""
