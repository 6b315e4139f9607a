"""Grafana's dashboards, written down as tables and made into the JSON that Grafana imports."""
