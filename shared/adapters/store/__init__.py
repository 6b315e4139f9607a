"""PostgreSQL: the truth. All SQL of the project is in this folder, each statement beside its only caller."""
