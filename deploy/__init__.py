"""Ways to run Leveret; nothing the services themselves import may live here."""
