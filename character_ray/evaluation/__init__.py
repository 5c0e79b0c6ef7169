"""What training did, in numbers with intervals."""
