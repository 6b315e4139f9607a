"""The images: their Dockerfile, what goes into a build, and how one is tried without a container engine."""
