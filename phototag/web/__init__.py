"""The local web page: turns requests into calls of the library, and holds no logic of its own."""
