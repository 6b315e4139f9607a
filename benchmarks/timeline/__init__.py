"""A recorded run of the scaler with its process fleet: real gateway, scalers, workers and servers."""
