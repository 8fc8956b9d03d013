"""A whole run: opened, checked, carried out, inspected."""
