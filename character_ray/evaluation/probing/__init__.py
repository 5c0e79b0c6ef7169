"""What training did inside the model: probes of the residual stream, and interventions on it."""
