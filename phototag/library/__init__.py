"""Which photo files there are, and what changed since the last look."""
