"""The tests, by distance: unit, contract, integration, e2e; real servers wherever one is talked to."""
