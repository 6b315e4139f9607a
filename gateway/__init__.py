"""The front door: takes jobs by REST, answers about them, and pushes what happens to them."""
