"""Base model and personas behind one OpenAI-compatible API on Ray Serve, and the same two in a terminal."""
