"""Fleets: where machines come from. Each satisfies `scaler.ports.Fleet`."""
