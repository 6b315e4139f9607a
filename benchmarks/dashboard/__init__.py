"""What an open dashboard costs the gateway while jobs run: its CPU with pages and without, side by side."""
