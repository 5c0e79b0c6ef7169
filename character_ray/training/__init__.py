"""Training of the two adapters on Ray Train, and exact algebra on what comes out."""
