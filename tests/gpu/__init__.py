"""What only an NVIDIA GPU can show: `make test-gpu`. Needs no server; where no GPU is, one line says so."""
