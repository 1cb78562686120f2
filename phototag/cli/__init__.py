"""The command line. It reads arguments and prints; what it calls does the work."""
