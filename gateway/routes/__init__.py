"""The doors: each reads a request, asks a service, and words the answer. Nothing is decided here."""
